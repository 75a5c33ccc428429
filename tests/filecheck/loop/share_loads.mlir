// RUN: tilewright-opt %s -p share-loads --print-debuginfo | filecheck %s

// In a grid of 2 x 2 cores each loads a quarter and sends it to all; along the tile's first axis
// that divides by 4, whichever axis of the tensor that is; with its steps and its start.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: %wt = loop.alloc : memref<3x512xi8, "spm">
// CHECK-NEXT: %[[A:.*]] = loop.subview %wt[%row, %column] at affine_map<(d0, d1) -> (0, ((d0 * 256) + (d1 * 128)))> : memref<3x512xi8, "spm"> -> memref<3x128xi8, "spm"> loc("conv")
// CHECK-NEXT: loop.copy load %w[%row, %column] at affine_map<(d0, d1) -> (0, ((d0 * 256) + (d1 * 128)))> tile %[[A]] broadcast : memref<3x512xi8, "const">, memref<3x128xi8, "spm"> loc("conv")
// CHECK: %[[B:.*]] = loop.subview %xt[%row, %column] at affine_map<(d0, d1) -> (((d0 * 4) + (d1 * 2)), 0)>
// CHECK-NEXT: loop.copy load %x[%row, %column] at affine_map<(d0, d1) -> (1, (((d0 * 8) + (d1 * 4)) + -2))> tile %[[B]] fill 3 : i64 perm [1, 0] steps [1, 2] broadcast :

// What depends on the row only is shared by the cores of a row.
// CHECK: %own = loop.alloc : memref<64x8xi8, "spm">
// CHECK-NEXT: %[[C:.*]] = loop.subview %own[%column] at affine_map<(d0) -> ((d0 * 32), 0)> : memref<64x8xi8, "spm"> -> memref<32x8xi8, "spm">
// CHECK-NEXT: loop.copy load %x[%row, %column] at affine_map<(d0, d1) -> (((d0 * 64) + (d1 * 32)), 0)> tile %[[C]] fill 0 : i64 broadcast 2 :

// Not shared: what depends on the core, parts of less than 256 bytes, axes that do not divide,
// loads inside loops, tiles that are parts of a buffer, and stores.
// CHECK-NOT: broadcast
// CHECK-LABEL: func.func @npu_segment_1
// Three cores in a row.
// CHECK: loop.subview %wt[%core] at affine_map<(d0) -> ((d0 * 300))> : memref<900xi8, "spm"> -> memref<300xi8, "spm">
// CHECK-NEXT: loop.copy load %w[%core] at affine_map<(d0) -> (((d0 * 300) + 100))> tile {{.*}} broadcast
// CHECK-LABEL: func.func @npu_segment_2
// What counts are bytes: 100 elements of 4.
// CHECK: memref<200xi32, "spm"> -> memref<100xi32, "spm">
// CHECK-LABEL: func.func @npu_segment_3
// One core.
// CHECK-NOT: broadcast
func.func @npu_segment_0() {
  loop.for %row = 0 to 2 step 1 {
    loop.for %column = 0 to 2 step 1 {
      %w = loop.global "w" {offset = 0 : i64} : memref<3x512xi8, "const">
      %x = loop.alloc {offset = 0 : i64} : memref<300x4xi8, "dram">
      %wt = loop.alloc : memref<3x512xi8, "spm">
      loop.copy load %w[] at affine_map<() -> (0, 0)> tile %wt : memref<3x512xi8, "const">, memref<3x512xi8, "spm"> loc("conv")
      %xt = loop.alloc : memref<8x256xi8, "spm">
      loop.copy load %x[] at affine_map<() -> (1, -2)> tile %xt fill 3 : i64 perm [1, 0] steps [1, 2] : memref<300x4xi8, "dram">, memref<8x256xi8, "spm">
      %own = loop.alloc : memref<64x8xi8, "spm">
      loop.copy load %x[%row] at affine_map<(d0) -> (d0 * 64, 0)> tile %own fill 0 : i64 : memref<300x4xi8, "dram">, memref<64x8xi8, "spm">
      %mine = loop.alloc : memref<64x4xi8, "spm">
      loop.copy load %x[%row, %column] at affine_map<(d0, d1) -> ((d0 * 64) + (d1 * 128), 0)> tile %mine : memref<300x4xi8, "dram">, memref<64x4xi8, "spm">
      %small = loop.alloc : memref<252x4xi8, "spm">
      loop.copy load %x[] at affine_map<() -> (0, 0)> tile %small : memref<300x4xi8, "dram">, memref<252x4xi8, "spm">
      %odd = loop.alloc : memref<3x511xi8, "spm">
      loop.copy load %w[] at affine_map<() -> (0, 0)> tile %odd : memref<3x512xi8, "const">, memref<3x511xi8, "spm">
      loop.for %h = 0 to 2 step 1 {
        loop.copy load %w[] at affine_map<() -> (0, 0)> tile %wt : memref<3x512xi8, "const">, memref<3x512xi8, "spm">
      }
      %big = loop.alloc : memref<3x1024xi8, "spm">
      %part = loop.subview %big[] at affine_map<() -> (0, 512)> : memref<3x1024xi8, "spm"> -> memref<3x512xi8, "spm">
      loop.copy load %w[] at affine_map<() -> (0, 0)> tile %part : memref<3x512xi8, "const">, memref<3x512xi8, "spm">
      loop.copy store %x[] at affine_map<() -> (0, 0)> tile %small : memref<300x4xi8, "dram">, memref<252x4xi8, "spm">
    } attributes {cores}
  } attributes {cores}
  func.return
}

func.func @npu_segment_1() {
  loop.for %core = 0 to 3 step 1 {
    %w = loop.global "w" {offset = 0 : i64} : memref<1000xi8, "const">
    %wt = loop.alloc : memref<900xi8, "spm">
    loop.copy load %w[] at affine_map<() -> (100)> tile %wt : memref<1000xi8, "const">, memref<900xi8, "spm">
  } attributes {cores}
  func.return
}

func.func @npu_segment_2() {
  loop.for %core = 0 to 2 step 1 {
    %w = loop.global "w" {offset = 0 : i64} : memref<200xi32, "const">
    %wt = loop.alloc : memref<200xi32, "spm">
    loop.copy load %w[] at affine_map<() -> (0)> tile %wt : memref<200xi32, "const">, memref<200xi32, "spm">
  } attributes {cores}
  func.return
}

func.func @npu_segment_3() {
  %w = loop.global "w" {offset = 0 : i64} : memref<1024xi8, "const">
  %wt = loop.alloc : memref<1024xi8, "spm">
  loop.copy load %w[] at affine_map<() -> (0)> tile %wt : memref<1024xi8, "const">, memref<1024xi8, "spm">
  func.return
}
