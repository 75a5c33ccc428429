// RUN: tilewright-opt %s -p distribute --target auto-200 --print-debuginfo | filecheck %s

// 197 rows on two rows of cores, padded to 200: blocks of 100.  Divided alike, so that what the first
// nest makes is where the second one reads it.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: loop.nest domain [200, 1024] padded [0] {{.*}} fills [1 : i64] on "npu"
// CHECK: } attributes {split = array<i64: 0, 1>, blocked} loc("first")
// CHECK: loop.nest domain [200, 1024] padded [0] {{.*}} fills [1 : i64] on "npu"
// CHECK: } attributes {split = array<i64: 0, 1>, blocked} loc("second")
func.func @npu_segment_0() {
  %x = loop.alloc {offset = 0 : i64} : memref<197x1024xi8, "dram">
  %y = loop.alloc {offset = 201728 : i64, local} : memref<197x1024xi8, "dram">
  %z = loop.alloc {offset = 403456 : i64} : memref<197x1024xi8, "dram">
  %t = loop.global "t" {offset = 0 : i64} : memref<1024xi8, "const">
  loop.nest domain [197, 1024] ins(%x : memref<197x1024xi8, "dram">) outs(%y : memref<197x1024xi8, "dram">) maps [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>] on "npu" body {
  ^bb0(%a: i8):
    %r = loop.apply "clip"(%a) {min = 0 : i64, max = 127 : i64} : (i8) -> i8
    loop.yield %r : i8
  } loc("first")
  loop.nest domain [197, 1024] ins(%y : memref<197x1024xi8, "dram">) outs(%z : memref<197x1024xi8, "dram">) maps [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>] on "npu" body {
  ^bb0(%a: i8):
    %r = loop.apply "clip"(%a) {min = 0 : i64, max = 127 : i64} : (i8) -> i8
    loop.yield %r : i8
  } loc("second")
  func.return
}
