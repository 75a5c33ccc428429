// RUN: tilewright-opt %s -p hoist-copies | filecheck %s

// A load that does not use the loop's variable moves out with its buffer; one that does stays.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: loop.for %n
// CHECK-NEXT: %wt = loop.alloc
// CHECK-NEXT: loop.copy load %w[%n]
// CHECK-NEXT: loop.for %h
// CHECK-NEXT: %xt = loop.alloc
// CHECK-NEXT: loop.copy load %x[%h]
func.func @npu_segment_0() {
  %x = loop.alloc {offset = 0 : i64} : memref<16x8xi8, "dram">
  %y = loop.alloc {offset = 128 : i64} : memref<16x8xi8, "dram">
  %w = loop.global "w" {offset = 0 : i64} : memref<8x8xi8, "const">
  loop.for %n = 0 to 8 step 4 {
    loop.for %h = 0 to 16 step 4 {
      %xt = loop.alloc : memref<4x8xi8, "spm">
      loop.copy load %x[%h] at affine_map<(d0) -> (d0, 0)> tile %xt : memref<16x8xi8, "dram">, memref<4x8xi8, "spm">
      %wt = loop.alloc : memref<8x4xi8, "spm">
      loop.copy load %w[%n] at affine_map<(d0) -> (0, d0)> tile %wt : memref<8x8xi8, "const">, memref<8x4xi8, "spm">
      loop.copy store %y[%h, %n] at affine_map<(d0, d1) -> (d0, d1)> tile %wt : memref<16x8xi8, "dram">, memref<8x4xi8, "spm">
    }
  }
  func.return
}

// Memory that the loop stores to (here: the same bytes of the arena) is loaded anew every time.
// CHECK-LABEL: func.func @npu_segment_1
// CHECK: loop.for %h
// CHECK: loop.copy load
func.func @npu_segment_1() {
  %x = loop.alloc {offset = 0 : i64} : memref<16x8xi8, "dram">
  %y = loop.alloc {offset = 64 : i64} : memref<16x8xi8, "dram">
  loop.for %h = 0 to 16 step 4 {
    %xt = loop.alloc : memref<4x8xi8, "spm">
    loop.copy load %x[] at affine_map<() -> (8, 0)> tile %xt : memref<16x8xi8, "dram">, memref<4x8xi8, "spm">
    loop.copy store %y[%h] at affine_map<(d0) -> (d0, 0)> tile %xt : memref<16x8xi8, "dram">, memref<4x8xi8, "spm">
  }
  func.return
}
