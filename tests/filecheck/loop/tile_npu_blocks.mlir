// RUN: tilewright-opt %s -p tile-npu --target auto-200 | filecheck %s

// 197 rows, padded to 200, on four cores: blocks of 50.  Loads fill what lies beyond the tensor in
// DRAM; the one on chip has rows for it.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: loop.for %d0 = 0 to 50 step 25 {
// CHECK: loop.copy load %x[%d0, %core] at affine_map<(d0, d1) -> ((d0 + (d1 * 50)), 0)> tile %x_tile fill 1
// CHECK: %[[TILE:.*]] = loop.subview %y[%d0, %core] at affine_map<(d0, d1) -> ((d0 + (d1 * 50)), 0)> : memref<200x1024xi8, "spm"> -> memref<25x1024xi8, "spm">
// CHECK: loop.broadcast %[[TILE]] : memref<25x1024xi8, "spm">
func.func @npu_segment_0() {
  loop.for %core = 0 to 4 step 1 {
    %x = loop.alloc {offset = 0 : i64} : memref<197x1024xi8, "dram">
    %y = loop.alloc {offset = 8000000 : i64} : memref<200x1024xi8, "spm">
    loop.nest domain [200, 1024] padded [0] ins(%x : memref<197x1024xi8, "dram">) outs(%y : memref<200x1024xi8, "spm">) maps [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>] fills [1 : i64] on "npu" body {
    ^bb0(%a: i8):
      %r = loop.apply "clip"(%a) {min = 0 : i64, max = 127 : i64} : (i8) -> i8
      loop.yield %r : i8
    } attributes {split = array<i64: 0>, blocked} loc("first")
  } attributes {cores}
  func.return
}
