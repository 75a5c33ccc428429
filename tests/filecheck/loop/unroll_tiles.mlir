// RUN: tilewright-opt %s -p "unroll-tiles{max-ops=15 growth=1.0}" --target tpu-v1 | filecheck %s
// RUN: tilewright-opt %s -p unroll-tiles --target tpu-v1 | filecheck %s --check-prefix WHOLE

// The iterations stand one after the other, each with its buffer; inner loops stay loops where
// there is no room for theirs.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK-NOT: loop.for %n
// CHECK: [[W0:%.*]] = loop.alloc : memref<8x4xi8, "spm">
// CHECK: loop.copy load %w[] at affine_map<() -> (0, 0)> tile [[W0]]
// CHECK: loop.for [[H:%.*]] = 0 to 16 step 4
// CHECK: loop.copy store %y{{\[}}[[H]]{{\]}} at affine_map<(d0) -> (d0, 0)> tile [[W0]]
// CHECK: [[W1:%.*]] = loop.alloc : memref<8x4xi8, "spm">
// CHECK: loop.copy load %w[] at affine_map<() -> (0, 4)> tile [[W1]]
// CHECK: loop.for [[H:%.*]] = 0 to 16 step 4
// CHECK: loop.copy store %y{{\[}}[[H]]{{\]}} at affine_map<(d0) -> (d0, 4)> tile [[W1]]
// CHECK: func.return

// WHOLE-LABEL: func.func @npu_segment_0
// WHOLE-NOT: loop.for
// WHOLE: loop.copy store %y[] at affine_map<() -> (0, 0)>
// WHOLE: loop.copy store %y[] at affine_map<() -> (12, 0)>
// WHOLE: loop.copy store %y[] at affine_map<() -> (0, 4)>
// WHOLE: loop.copy store %y[] at affine_map<() -> (12, 4)>
func.func @npu_segment_0() {
  %y = loop.alloc {offset = 128 : i64} : memref<16x8xi8, "dram">
  %w = loop.global "w" {offset = 0 : i64} : memref<8x8xi8, "const">
  loop.for %n = 0 to 8 step 4 {
    %wt = loop.alloc : memref<8x4xi8, "spm">
    loop.copy load %w[%n] at affine_map<(d0) -> (0, d0)> tile %wt : memref<8x8xi8, "const">, memref<8x4xi8, "spm">
    loop.for %h = 0 to 16 step 4 {
      loop.copy store %y[%h, %n] at affine_map<(d0, d1) -> (d0, d1)> tile %wt : memref<16x8xi8, "dram">, memref<8x4xi8, "spm">
    }
  }
  func.return
}
