// RUN: tilewright-opt %s -p split-outputs --target auto-200 | filecheck %s
// RUN: tilewright-opt %s -p split-outputs --target tpu-v1 | filecheck %s --check-prefix ALONE

// Two heads of queries (columns 0 to 127) and of values (128 to 255) in one product, then in two.
// CHECK-LABEL: func.func @main
// CHECK: [[Q:%.*]] = loop.alloc : memref<8x128xi8, "dram">
// CHECK: loop.nest domain [8, 128, 4]
// CHECK-SAME: outs([[Q]] : memref<8x128xi8, "dram">)
// CHECK-SAME: affine_map<(d0, d1, d2) -> (d2, d1)>
// CHECK: [[V:%.*]] = loop.alloc : memref<8x128xi8, "dram">
// CHECK: loop.nest domain [8, 128, 4]
// CHECK-SAME: outs([[V]] : memref<8x128xi8, "dram">)
// CHECK-SAME: affine_map<(d0, d1, d2) -> (d2, (d1 + 128))>
// CHECK: [[QH:%.*]] = loop.reshape [[Q]] : memref<8x128xi8, "dram"> -> memref<8x2x64xi8, "dram">
// CHECK: loop.nest domain [8, 2, 64] ins([[QH]]
// CHECK-SAME: maps [affine_map<(d0, d1, d2) -> (d0, d1, d2)>
// CHECK: [[VH:%.*]] = loop.reshape [[V]] : memref<8x128xi8, "dram"> -> memref<8x2x64xi8, "dram">
// CHECK: loop.nest domain [8, 2, 64] ins([[VH]]
// CHECK-SAME: maps [affine_map<(d0, d1, d2) -> (d0, d1, d2)>

// One core keeps it whole.
// ALONE: loop.nest domain [8, 256, 4]
// ALONE-NOT: loop.nest domain [8, 128, 4]
func.func @main(%x: memref<8x4xi8, "dram">, %y: memref<8x2x64xi8, "dram">, %z: memref<8x2x64xi8, "dram">) attributes {num_inputs = 1 : i64} {
  %w = loop.global "w" : memref<4x256xi8, "const">
  %qv = loop.alloc : memref<8x256xi8, "dram">
  loop.nest domain [8, 256, 4] reduce "add" over [2] ins(%x, %w : memref<8x4xi8, "dram">, memref<4x256xi8, "const">) outs(%qv : memref<8x256xi8, "dram">) maps [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>] on "npu" body {
  ^bb0(%a: i8, %b: i8):
    %i = loop.apply "widen"(%a) {zp = 0 : i64} : (i8) -> i32
    %j = loop.apply "widen"(%b) {zp = 0 : i64} : (i8) -> i32
    %p = loop.apply "mul"(%i, %j) : (i32, i32) -> i32
    loop.yield %p : i32
  } epilogue {
  ^bb0(%s: i32):
    %m = loop.const 1073741824 : i32 -> i32
    %h = loop.const 36 : i32 -> i32
    %q = loop.apply "requantize"(%s, %m, %h) {zp = 0 : i64, lo = -128 : i64, hi = 127 : i64} : (i32, i32, i32) -> i8
    loop.yield %q : i8
  }
  %heads = loop.reshape %qv : memref<8x256xi8, "dram"> -> memref<8x4x64xi8, "dram">
  loop.nest domain [8, 2, 64] ins(%heads : memref<8x4x64xi8, "dram">) outs(%y : memref<8x2x64xi8, "dram">) maps [affine_map<(m, h, n) -> (m, h, n)>, affine_map<(m, h, n) -> (m, h, n)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  }
  loop.nest domain [8, 2, 64] ins(%heads : memref<8x4x64xi8, "dram">) outs(%z : memref<8x2x64xi8, "dram">) maps [affine_map<(m, h, n) -> (m, h + 2, n)>, affine_map<(m, h, n) -> (m, h, n)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  }
  func.return
}
