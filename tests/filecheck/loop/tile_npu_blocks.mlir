// RUN: tilewright-opt %s -p tile-npu --target auto-200 | filecheck %s

// 197 rows on four cores: 50 each, from 0, 49, 98 and 147.  Behind the loops, when all have made
// theirs, cores send first the row that is left over, then their 49: no two cores the same one.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: loop.for %d0 = 0 to 50 step 25 {
// CHECK: loop.copy load %x[%d0, %core] at affine_map<(d0, d1) -> ((d0 + (d1 * 49)), 0)> tile %x_tile
// CHECK-NOT: loop.broadcast
// CHECK: %[[REST:.*]] = loop.subview %y[%core] at affine_map<(d0) -> (((d0 * 49) + 49), 0)> : memref<197x1024xi8, "spm"> -> memref<1x1024xi8, "spm">
// CHECK-NEXT: loop.broadcast %[[REST]] {overlapping} : memref<1x1024xi8, "spm">
// CHECK-NEXT: %[[SHARE:.*]] = loop.subview %y[%core] at affine_map<(d0) -> ((d0 * 49), 0)> : memref<197x1024xi8, "spm"> -> memref<49x1024xi8, "spm">
// CHECK-NEXT: loop.broadcast %[[SHARE]] {overlapping} : memref<49x1024xi8, "spm">
func.func @npu_segment_0() {
  loop.for %core = 0 to 4 step 1 {
    %x = loop.alloc {offset = 0 : i64} : memref<197x1024xi8, "dram">
    %y = loop.alloc {offset = 8000000 : i64} : memref<197x1024xi8, "spm">
    loop.nest domain [197, 1024] ins(%x : memref<197x1024xi8, "dram">) outs(%y : memref<197x1024xi8, "spm">) maps [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>] on "npu" body {
    ^bb0(%a: i8):
      %r = loop.apply "clip"(%a) {min = 0 : i64, max = 127 : i64} : (i8) -> i8
      loop.yield %r : i8
    } attributes {split = array<i64: 0>, blocked} loc("first")
  } attributes {cores}
  func.return
}
