// RUN: tilewright-opt %s -p tile-npu --target gemmini-16x16 --print-debuginfo | filecheck %s

// A convolution becomes tile loops around a matmul leaf and a vrequant leaf.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: loop.for %d3 = 0 to 256 step
// CHECK: %acc = loop.alloc : memref<{{.*}}xi32, "acc"> loc("conv")
// CHECK: loop.copy load %x{{.*}} fill 3 : i64
// CHECK: loop.copy load %w[%d3] at
// CHECK: loop.nest domain {{.*}} reduce "add" over [4, 5, 6] ins({{.*}} outs(%acc
// CHECK: tensorize = "matmul"
// CHECK: loop.copy load %b[%d3]
// CHECK: "requantize"
// CHECK: tensorize = "vrequant"
// CHECK: loop.copy store %y

// Elementwise nests and look-ups; the table is loaded once.
// CHECK-LABEL: func.func @npu_segment_1
// CHECK: loop.copy load %t[] {{.*}} tile %table
// CHECK: tensorize = "vlut"
// CHECK: loop.copy store

// The CPU's functions are left alone.
// CHECK-LABEL: func.func @main
// CHECK-NOT: tensorize
func.func @npu_segment_0() {
  %x = loop.alloc {offset = 0 : i64} : memref<1x28x28x128xi8, "dram">
  %y = loop.alloc {offset = 100416 : i64} : memref<1x28x28x256xi8, "dram">
  %w = loop.global "w" {offset = 0 : i64} : memref<3x3x128x256xi8, "const">
  %b = loop.global "b" {offset = 294912 : i64} : memref<256xi32, "const">
  %m = loop.global "m" {offset = 295936 : i64} : memref<256xi32, "const">
  %s = loop.global "s" {offset = 296960 : i64} : memref<256xi32, "const">
  loop.nest domain [1, 28, 28, 256, 3, 3, 128] reduce "add" over [4, 5, 6] ins(%x, %w : memref<1x28x28x128xi8, "dram">, memref<3x3x128x256xi8, "const">) epilogue_ins(%b, %m, %s : memref<256xi32, "const">, memref<256xi32, "const">, memref<256xi32, "const">) outs(%y : memref<1x28x28x256xi8, "dram">) maps [affine_map<(n, h, w, o, kh, kw, i) -> (n, h + kh - 1, w + kw - 1, i)>, affine_map<(n, h, w, o, kh, kw, i) -> (kh, kw, i, o)>, affine_map<(n, h, w, o, kh, kw, i) -> (o)>, affine_map<(n, h, w, o, kh, kw, i) -> (o)>, affine_map<(n, h, w, o, kh, kw, i) -> (o)>, affine_map<(n, h, w, o, kh, kw, i) -> (n, h, w, o)>] fills [3 : i64, unit, unit, unit, unit] on "npu" body {
  ^bb0(%a: i8, %k: i8):
    %aw = loop.apply "widen"(%a) {zp = 3 : i64} : (i8) -> i32
    %kw = loop.apply "widen"(%k) {zp = 0 : i64} : (i8) -> i32
    %p = loop.apply "mul"(%aw, %kw) : (i32, i32) -> i32
    loop.yield %p : i32
  } epilogue {
  ^bb0(%acc: i32, %bias: i32, %mult: i32, %shift: i32):
    %sum = loop.apply "add"(%acc, %bias) : (i32, i32) -> i32
    %q = loop.apply "requantize"(%sum, %mult, %shift) {zp = 5 : i64, lo = -128 : i64, hi = 127 : i64} : (i32, i32, i32) -> i8
    loop.yield %q : i8
  } loc("conv")
  func.return
}

func.func @npu_segment_1() {
  %x = loop.alloc {offset = 0 : i64} : memref<1x8x8x16xi8, "dram">
  %y = loop.alloc {offset = 1024 : i64} : memref<1x8x8x16xi8, "dram">
  %t = loop.global "t" {offset = 0 : i64} : memref<256xi8, "const">
  loop.nest domain [1, 8, 8, 16] ins(%x : memref<1x8x8x16xi8, "dram">) outs(%y : memref<1x8x8x16xi8, "dram">) maps [affine_map<(n, h, w, c) -> (n, h, w, c)>, affine_map<(n, h, w, c) -> (n, h, w, c)>] on "npu" body {
  ^bb0(%a: i8):
    %i = loop.apply "widen"(%a) {zp = -128 : i64} : (i8) -> i32
    %v = loop.extract %t[%i] : memref<256xi8, "const">[i32] -> i8
    loop.yield %v : i8
  } loc("act")
  func.return
}

func.func @main() {
  func.return
}
