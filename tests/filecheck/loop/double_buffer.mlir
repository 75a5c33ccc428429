// RUN: tilewright-opt %s -p double-buffer --target gemmini-16x16 | filecheck %s

// Loaded tiles come first; a buffer that would not fit twice keeps one slot; none outside loops.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: %t = loop.alloc : memref<256xi8, "spm">
// CHECK: loop.for
// CHECK: %big = loop.alloc : memref<150000xi8, "spm">
// CHECK: %xt = loop.alloc {slots = 2 : i64} : memref<4x8xi8, "spm">
func.func @npu_segment_0() {
  %x = loop.alloc {offset = 0 : i64} : memref<16x8xi8, "dram">
  %table = loop.global "t" {offset = 0 : i64} : memref<256xi8, "const">
  %t = loop.alloc : memref<256xi8, "spm">
  loop.copy load %table[] at affine_map<() -> (0)> tile %t : memref<256xi8, "const">, memref<256xi8, "spm">
  loop.for %h = 0 to 16 step 4 {
    %big = loop.alloc : memref<150000xi8, "spm">
    loop.fill %big with 0 : i64 : memref<150000xi8, "spm">
    %xt = loop.alloc : memref<4x8xi8, "spm">
    loop.copy load %x[%h] at affine_map<(d0) -> (d0, 0)> tile %xt : memref<16x8xi8, "dram">, memref<4x8xi8, "spm">
  }
  func.return
}
