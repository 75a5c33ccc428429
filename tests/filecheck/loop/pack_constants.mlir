// RUN: tilewright-opt %s -p pack-constants --target gemmini-16x16 | filecheck %s

// Columns of the constant become one run each; @main declares the packed copy behind the others.
// CHECK: func.func @main() attributes {const_bytes = 1024 : i64}
// CHECK: loop.global {{.*}} {offset = 512 : i64} : memref<512xi8, "const">
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: [[P:%.*]] = loop.global {{.*}} {offset = 512 : i64} : memref<512xi8, "const">
// CHECK: loop.for %n
// CHECK: [[F:%.*]] = loop.alloc : memref<128xi8, "spm">
// CHECK: loop.reshape [[F]] : memref<128xi8, "spm"> -> memref<8x16xi8, "spm">
// CHECK: loop.copy load [[P]][%n] at affine_map<(d0) -> ((d0 * 8))> tile [[F]]
func.func @main() attributes {const_bytes = 512 : i64} {
  func.return
}
func.func @npu_segment_0() {
  %y = loop.alloc {offset = 0 : i64} : memref<8x64xi8, "dram">
  %w = loop.global dense<1> : tensor<8x64xi8> {offset = 0 : i64} : memref<8x64xi8, "const">
  loop.for %n = 0 to 64 step 16 {
    %wt = loop.alloc : memref<8x16xi8, "spm">
    loop.copy load %w[%n] at affine_map<(d0) -> (0, d0)> tile %wt : memref<8x64xi8, "const">, memref<8x16xi8, "spm">
    loop.copy store %y[%n] at affine_map<(d0) -> (0, d0)> tile %wt : memref<8x64xi8, "dram">, memref<8x16xi8, "spm">
  }
  func.return
}
