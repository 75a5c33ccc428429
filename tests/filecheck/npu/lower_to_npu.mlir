// RUN: tilewright-opt %s -p lower-to-npu --target gemmini-16x16 --print-debuginfo | filecheck %s

// Tile loops become hardware loops; the reduction over 40 channels takes blocks of 14, 14 and 12 on
// 16 rows, of which the first overwrites; a reduction loop around it is in the mask, too.
// CHECK-LABEL: npu.program @npu_segment_0
// CHECK: %x = npu.dram 0 : memref<16x80xi8, "dram">
// CHECK: npu.loop 4 {
// CHECK: %acc = npu.alloc {slots = 2 : i64} : memref<256xi8, "acc">
// CHECK-NOT: loop.fill
// CHECK: npu.loop 2 {
// CHECK: npu.load(%x {{.*}} at #npu.tensor_map<extents [16, 80] strides [80, 1] start [0, 0] steps [1, 1] box [4, 40] loops {{\[\[4\], \[0, 40\]\]}}>
// CHECK: npu.loop 2 {
// CHECK: npu.matmul(%xt {{.*}} sizes [4, 14] strides [40, 1]>, %wt {{.*}} sizes [14, 16] strides [16, 1]>, %acc {{.*}} sizes [4, 16] strides [64, 4]>) {m_rank = 1 : i64, a_zp = 3 : i64, overwrite = 6 : i64} loc("fc")
// CHECK: npu.matmul(%xt {{.*}} sizes [4, 12] {{.*}} overwrite = -1 : i64} loc("fc")
// CHECK: npu.vclip
// CHECK: npu.store(%y {{.*}} loc("fc")
func.func @npu_segment_0() {
  %x = loop.alloc {offset = 0 : i64} : memref<16x80xi8, "dram">
  %y = loop.alloc {offset = 1280 : i64} : memref<16x16xi8, "dram">
  %w = loop.global "w" {offset = 0 : i64} : memref<80x16xi8, "const">
  loop.for %h = 0 to 16 step 4 {
    %acc = loop.alloc {slots = 2 : i64} : memref<4x16xi32, "acc">
    loop.fill %acc with 0 : i64 : memref<4x16xi32, "acc"> loc("fc")
    loop.for %k = 0 to 80 step 40 {
      %xt = loop.alloc {slots = 2 : i64} : memref<4x40xi8, "spm">
      loop.copy load %x[%h, %k] at affine_map<(d0, d1) -> (d0, d1)> tile %xt : memref<16x80xi8, "dram">, memref<4x40xi8, "spm">
      %wt = loop.alloc {slots = 2 : i64} : memref<40x16xi8, "spm">
      loop.copy load %w[%k] at affine_map<(d0) -> (d0, 0)> tile %wt : memref<80x16xi8, "const">, memref<40x16xi8, "spm">
      loop.nest domain [4, 16, 40] reduce "add" over [2] accumulate ins(%xt, %wt : memref<4x40xi8, "spm">, memref<40x16xi8, "spm">) outs(%acc : memref<4x16xi32, "acc">) maps [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>] body {
      ^bb0(%a: i8, %b: i8):
        %aw = loop.apply "widen"(%a) {zp = 3 : i64} : (i8) -> i32
        %bw = loop.apply "widen"(%b) : (i8) -> i32
        %p = loop.apply "mul"(%aw, %bw) : (i32, i32) -> i32
        loop.yield %p : i32
      } attributes {tensorize = "matmul"} loc("fc")
    }
    %yt = loop.alloc {slots = 2 : i64} : memref<4x16xi8, "spm">
    loop.nest domain [4, 16] ins(%yt : memref<4x16xi8, "spm">) outs(%yt : memref<4x16xi8, "spm">) maps [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>] body {
    ^bb0(%a: i8):
      %c = loop.apply "clip"(%a) {min = 0 : i64, max = 127 : i64} : (i8) -> i8
      loop.yield %c : i8
    } attributes {tensorize = "vclip"} loc("fc")
    loop.copy store %y[%h] at affine_map<(d0) -> (d0, 0)> tile %yt : memref<16x16xi8, "dram">, memref<4x16xi8, "spm"> loc("fc")
  }
  func.return
}

// Compressed weights: 32 terms in blocks of 16, each 8 values of a column and 2 index bytes, which
// lie behind all values.
// CHECK-LABEL: npu.program @npu_segment_1
// CHECK: npu.loop 2 {
// CHECK: npu.smatmul(%xt {{.*}} at #npu.access<0 [16] sizes [4, 16] strides [32, 1]>, [[F:%.*]] : {{.*}} at #npu.access<0 [16] sizes [8, 2] strides [2, 1]>, {{.*}} sizes [4, 2] strides [8, 4]>, [[F]] : {{.*}} at #npu.access<32 [4] sizes [2, 2] strides [2, 1]>) {m_rank = 1 : i64, a_zp = 3 : i64, overwrite = 1 : i64}
func.func @npu_segment_1() {
  %xt = loop.alloc : memref<4x32xi8, "spm">
  %f = loop.alloc : memref<40xi8, "spm">
  %wt = loop.decode %f {axis = 0 : i64} : memref<40xi8, "spm"> -> memref<32x2xi8, "spm">
  %acc = loop.alloc : memref<4x2xi32, "acc">
  loop.nest domain [4, 2, 32] reduce "add" over [2] ins(%xt, %wt : memref<4x32xi8, "spm">, memref<32x2xi8, "spm">) outs(%acc : memref<4x2xi32, "acc">) maps [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>] body {
  ^bb0(%v: i8, %k: i8):
    %vw = loop.apply "widen"(%v) {zp = 3 : i64} : (i8) -> i32
    %kw = loop.apply "widen"(%k) : (i8) -> i32
    %p = loop.apply "mul"(%vw, %kw) : (i32, i32) -> i32
    loop.yield %p : i32
  } attributes {tensorize = "matmul"}
  func.return
}
