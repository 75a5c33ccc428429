// RUN: tilewright-opt %s -p cascade{stripes=2} --target ethos-u65-512 | filecheck %s

// A pool of 3x3 behind an activation, in two stripes of 4 rows: each needs a row of the other's.
// CHECK-LABEL: func.func @main
// CHECK: %y = loop.alloc : memref<1x5x8x16xi8, "dram">
// CHECK: loop.nest domain [1, 5, 8, 16] {{.*}} outs(%y
// CHECK: loop.nest domain [1, 4, 8, 16, 3, 3] {{.*}} ins(%y {{.*}} outs(%z {{.*}} -> (d0, ((d1 + d4) + -1), {{.*}} -> (d0, d1, d2, d3)>
// CHECK: [[Y:%y_[0-9]+]] = loop.alloc : memref<1x5x8x16xi8, "dram">
// CHECK: loop.nest domain [1, 5, 8, 16] {{.*}} outs([[Y]] {{.*}} -> (d0, (d1 + 3), d2, d3)>
// CHECK: halo = array<i64: 1, 2>
// CHECK: loop.nest domain [1, 4, 8, 16, 3, 3] {{.*}} ins([[Y]] {{.*}} outs(%z {{.*}} -> (d0, (d1 + d4), {{.*}} -> (d0, (d1 + 4), d2, d3)>
// CHECK: func.return
func.func @main(%x: memref<1x8x8x16xi8, "dram">, %z: memref<1x8x8x16xi8, "dram">) {
  %y = loop.alloc : memref<1x8x8x16xi8, "dram">
  loop.nest domain [1, 8, 8, 16] ins(%x : memref<1x8x8x16xi8, "dram">) outs(%y : memref<1x8x8x16xi8, "dram">) maps [affine_map<(n, h, w, c) -> (n, h, w, c)>, affine_map<(n, h, w, c) -> (n, h, w, c)>] on "npu" body {
  ^bb0(%a: i8):
    %b = loop.apply "clip"(%a) {min = 0 : i64, max = 9 : i64} : (i8) -> i8
    loop.yield %b : i8
  } loc("act")
  loop.nest domain [1, 8, 8, 16, 3, 3] reduce "max" over [4, 5] ins(%y : memref<1x8x8x16xi8, "dram">) outs(%z : memref<1x8x8x16xi8, "dram">) maps [affine_map<(n, h, w, c, kh, kw) -> (n, h + kh - 1, w + kw - 1, c)>, affine_map<(n, h, w, c, kh, kw) -> (n, h, w, c)>] fills [-128 : i64] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("pool")
  func.return
}
