// RUN: tilewright-opt %s -p find-sparsity --target auto-200 | filecheck %s

// Two of every four weights along the reduction are 0 in %a, one of the first four of %b.
// CHECK: [[A:%.*]] = loop.global dense<{{.*}}> {{.*}} : memref<8x2xi8, "const">
// CHECK: [[B:%.*]] = loop.global dense<{{.*}}> {{.*}} : memref<8x2xi8, "const">
// CHECK: loop.nest domain [4, 2, 8] {{.*}} [[A]]
// CHECK: } attributes {sparse}
// CHECK: loop.nest domain [4, 2, 8] {{.*}} [[B]]
// CHECK-NOT: sparse
func.func @main() {
  %x = loop.alloc {offset = 0 : i64} : memref<4x8xi8, "dram">
  %y = loop.alloc {offset = 64 : i64} : memref<4x2xi32, "dram">
  %a = loop.global dense<[[1, 0], [0, 0], [2, 3], [0, 4], [0, 5], [6, 0], [7, 8], [0, 0]]> : tensor<8x2xi8> {offset = 0 : i64} : memref<8x2xi8, "const">
  %b = loop.global dense<[[1, 0], [0, 0], [2, 3], [3, 4], [0, 5], [6, 0], [7, 8], [0, 0]]> : tensor<8x2xi8> {offset = 64 : i64} : memref<8x2xi8, "const">
  loop.nest domain [4, 2, 8] reduce "add" over [2] ins(%x, %a : memref<4x8xi8, "dram">, memref<8x2xi8, "const">) outs(%y : memref<4x2xi32, "dram">) maps [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>] fills [unit, unit] on "npu" body {
  ^bb0(%v: i8, %w: i8):
    %vw = loop.apply "widen"(%v) {zp = 3 : i64} : (i8) -> i32
    %ww = loop.apply "widen"(%w) : (i8) -> i32
    %p = loop.apply "mul"(%vw, %ww) : (i32, i32) -> i32
    loop.yield %p : i32
  }
  loop.nest domain [4, 2, 8] reduce "add" over [2] ins(%x, %b : memref<4x8xi8, "dram">, memref<8x2xi8, "const">) outs(%y : memref<4x2xi32, "dram">) maps [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>] fills [unit, unit] on "npu" body {
  ^bb0(%v: i8, %w: i8):
    %vw = loop.apply "widen"(%v) {zp = 3 : i64} : (i8) -> i32
    %ww = loop.apply "widen"(%w) : (i8) -> i32
    %p = loop.apply "mul"(%vw, %ww) : (i32, i32) -> i32
    loop.yield %p : i32
  }
  func.return
}
