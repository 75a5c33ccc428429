// RUN: tilewright-opt %s -p pack-constants --target gemmini-16x16 | filecheck %s

// Columns of the constant become one run each; @main declares the packed copy behind the others.
// CHECK: func.func @main() attributes {const_bytes = 1280 : i64}
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

// Weights that a sparse leaf takes are stored compressed: 2 x 4 values and 2 index bytes.
// CHECK-LABEL: func.func @npu_segment_1
// CHECK: [[W:%.*]] = loop.global {{.*}} {offset = 1024 : i64} : memref<10xi8, "const">
// CHECK: [[T:%.*]] = loop.alloc : memref<10xi8, "spm">
// CHECK: loop.copy load [[W]][] at affine_map<() -> (0)> tile [[T]]
// CHECK: [[D:%.*]] = loop.decode [[T]] {axis = 0 : i64} : memref<10xi8, "spm"> -> memref<8x2xi8, "spm">
// CHECK: loop.nest {{.*}} [[D]]
func.func @npu_segment_1() {
  %w = loop.global dense<[[1, 0], [0, 0], [2, 3], [0, 4], [0, 5], [6, 0], [7, 8], [0, 0]]> : tensor<8x2xi8> {offset = 64 : i64} : memref<8x2xi8, "const">
  %xt = loop.alloc : memref<4x8xi8, "spm">
  %wt = loop.alloc : memref<8x2xi8, "spm">
  loop.copy load %w[] at affine_map<() -> (0, 0)> tile %wt : memref<8x2xi8, "const">, memref<8x2xi8, "spm">
  %acc = loop.alloc : memref<4x2xi32, "acc">
  loop.nest domain [4, 2, 8] reduce "add" over [2] ins(%xt, %wt : memref<4x8xi8, "spm">, memref<8x2xi8, "spm">) outs(%acc : memref<4x2xi32, "acc">) maps [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>] body {
  ^bb0(%v: i8, %k: i8):
    %vw = loop.apply "widen"(%v) {zp = 3 : i64} : (i8) -> i32
    %kw = loop.apply "widen"(%k) : (i8) -> i32
    %p = loop.apply "mul"(%vw, %kw) : (i32, i32) -> i32
    loop.yield %p : i32
  } attributes {tensorize = "matmul", sparse}
  func.return
}
