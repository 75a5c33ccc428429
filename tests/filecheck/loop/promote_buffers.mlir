// RUN: tilewright-opt %s -p promote-buffers --target tpu-v1 | filecheck %s

// %y stays in the scratchpad with the border that the pool reads; its border is filled once, what
// writes it is shifted by 1, what reads it reads nothing outside any more.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: %y = loop.alloc {offset = {{[0-9]+}} : i64} : memref<1x10x10x16xi8, "spm">
// CHECK: [[TOP:%.*]] = loop.subview %y[] at affine_map<() -> (0, 0, 0, 0)> {{.*}} -> memref<1x1x10x16xi8, "spm">
// CHECK-NEXT: loop.fill [[TOP]] with -128
// CHECK: loop.subview %y[] at affine_map<() -> (0, 9, 0, 0)>
// CHECK: loop.subview %y[] at affine_map<() -> (0, 1, 0, 0)> {{.*}} -> memref<1x8x1x16xi8, "spm">
// CHECK: loop.subview %y[] at affine_map<() -> (0, 1, 9, 0)>
// CHECK: loop.nest {{.*}} outs(%y {{.*}} -> (d0, (d1 + 1), (d2 + 1), d3)>
// CHECK: loop.nest {{.*}} ins(%y {{.*}} -> (d0, (d1 + d4), (d2 + d5), d3)>
// CHECK-NOT: fills
// CHECK: func.return
func.func @npu_segment_0() {
  %x = loop.alloc {offset = 0 : i64} : memref<1x8x8x16xi8, "dram">
  %y = loop.alloc {local, offset = 1024 : i64} : memref<1x8x8x16xi8, "dram">
  %z = loop.alloc {offset = 2048 : i64} : memref<1x8x8x16xi8, "dram">
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
