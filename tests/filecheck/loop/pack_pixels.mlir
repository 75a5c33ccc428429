// RUN: tilewright-opt %s -p pack-pixels{pixels=2} --target tpu-v1 | filecheck %s

// Two pixels beside the channels; their windows of 3 taps are one of 4.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: loop.global {{.*}} : memref<3x4x1x2x2xi8, "const">
// CHECK: loop.nest domain [1, 2, 2, 2, 2, 3, 4, 1] reduce "add" over [5, 6, 7]
// CHECK-SAME: (d0, ((d1 + d5) + -1), (((d2 * 2) + d6) + -1), d7)
// CHECK-SAME: (d5, d6, d7, d3, d4)
// CHECK-SAME: (d0, d1, ((d2 * 2) + d3), d4)
func.func @main() attributes {const_bytes = 256 : i64} {
  %w = loop.global dense<1> : tensor<3x3x1x2xi8> {offset = 0 : i64} : memref<3x3x1x2xi8, "const">
  func.return
}

func.func @npu_segment_0() {
  %x = loop.alloc {offset = 0 : i64} : memref<1x2x4x1xi8, "dram">
  %y = loop.alloc {offset = 64 : i64} : memref<1x2x4x2xi32, "dram">
  %w = loop.global dense<1> : tensor<3x3x1x2xi8> {offset = 0 : i64} : memref<3x3x1x2xi8, "const">
  loop.nest domain [1, 2, 4, 2, 3, 3, 1] reduce "add" over [4, 5, 6] ins(%x, %w : memref<1x2x4x1xi8, "dram">, memref<3x3x1x2xi8, "const">) outs(%y : memref<1x2x4x2xi32, "dram">) maps [affine_map<(n, h, w, o, kh, kw, i) -> (n, h + kh - 1, w + kw - 1, i)>, affine_map<(n, h, w, o, kh, kw, i) -> (kh, kw, i, o)>, affine_map<(n, h, w, o, kh, kw, i) -> (n, h, w, o)>] fills [3 : i64, unit] on "npu" body {
  ^bb0(%a: i8, %k: i8):
    %aw = loop.apply "widen"(%a) {zp = 3 : i64} : (i8) -> i32
    %kw = loop.apply "widen"(%k) : (i8) -> i32
    %p = loop.apply "mul"(%aw, %kw) : (i32, i32) -> i32
    loop.yield %p : i32
  }
  func.return
}
