// RUN: tilewright-opt %s -p distribute --target auto-200 --print-debuginfo | filecheck %s
// RUN: tilewright-opt %s -p distribute{enable=false} --target auto-200 | filecheck %s --check-prefix=OFF
// RUN: tilewright-opt %s -p distribute --target gemmini-16x16 | filecheck %s --check-prefix=OFF
// RUN: tilewright-opt %s -p distribute,tile-npu --target auto-200 | filecheck %s --check-prefix=TILE

// Four cores: each computes half of the columns of half of the channels.  Of primes, nothing pays.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK-NEXT: loop.for %row = 0 to 2 step 1 {
// CHECK-NEXT: loop.for %column = 0 to 2 step 1 {
// CHECK-NEXT: %x = loop.alloc
// CHECK: loop.nest domain [1, 28, 28, 256, 3, 3, 128]
// CHECK: } attributes {split = array<i64: 2, 3>} loc("conv")
// CHECK: loop.nest domain [1, 3, 5, 7]
// CHECK: } loc("odd")
// CHECK-NEXT: } attributes {cores}
// CHECK-NEXT: } attributes {cores}
// CHECK-NEXT: func.return

// OFF-LABEL: func.func @npu_segment_0
// OFF-NOT: loop.for
// OFF-NOT: split
// OFF: func.return

// A core stores its own part.  What all compute, only core (0, 0) stores: the others' box lies
// beyond the tensor.
// TILE-LABEL: func.func @npu_segment_0
// TILE: loop.copy store %y[{{.*}}%column, %row] at
// TILE: loop.copy store %t[%row, %column] at affine_map<(d0, d1) -> ((d0 + d1), 0, 0, 0)>

// Nothing to divide: no core loops.
// CHECK-LABEL: func.func @npu_segment_1
// CHECK-NOT: loop.for
// CHECK: func.return
func.func @npu_segment_0() {
  %x = loop.alloc {offset = 0 : i64} : memref<1x28x28x128xi8, "dram">
  %y = loop.alloc {offset = 100416 : i64} : memref<1x28x28x256xi8, "dram">
  %w = loop.global "w" {offset = 0 : i64} : memref<3x3x128x256xi8, "const">
  %m = loop.global "m" {offset = 295936 : i64} : memref<256xi32, "const">
  %s = loop.global "s" {offset = 296960 : i64} : memref<256xi32, "const">
  loop.nest domain [1, 28, 28, 256, 3, 3, 128] reduce "add" over [4, 5, 6] ins(%x, %w : memref<1x28x28x128xi8, "dram">, memref<3x3x128x256xi8, "const">) epilogue_ins(%m, %s : memref<256xi32, "const">, memref<256xi32, "const">) outs(%y : memref<1x28x28x256xi8, "dram">) maps [affine_map<(n, h, w, o, kh, kw, i) -> (n, h + kh - 1, w + kw - 1, i)>, affine_map<(n, h, w, o, kh, kw, i) -> (kh, kw, i, o)>, affine_map<(n, h, w, o, kh, kw, i) -> (o)>, affine_map<(n, h, w, o, kh, kw, i) -> (o)>, affine_map<(n, h, w, o, kh, kw, i) -> (n, h, w, o)>] fills [3 : i64, unit, unit, unit] on "npu" body {
  ^bb0(%a: i8, %k: i8):
    %aw = loop.apply "widen"(%a) {zp = 3 : i64} : (i8) -> i32
    %kw = loop.apply "widen"(%k) {zp = 0 : i64} : (i8) -> i32
    %p = loop.apply "mul"(%aw, %kw) : (i32, i32) -> i32
    loop.yield %p : i32
  } epilogue {
  ^bb0(%acc: i32, %mult: i32, %shift: i32):
    %q = loop.apply "requantize"(%acc, %mult, %shift) {zp = 5 : i64, lo = -128 : i64, hi = 127 : i64} : (i32, i32, i32) -> i8
    loop.yield %q : i8
  } loc("conv")
  %z = loop.alloc {offset = 500032 : i64} : memref<1x3x5x7xi8, "dram">
  %t = loop.alloc {offset = 600000 : i64} : memref<1x3x5x7xi8, "dram">
  loop.nest domain [1, 3, 5, 7] ins(%z : memref<1x3x5x7xi8, "dram">) outs(%t : memref<1x3x5x7xi8, "dram">) maps [affine_map<(n, h, w, c) -> (n, h, w, c)>, affine_map<(n, h, w, c) -> (n, h, w, c)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("odd")
  func.return
}

func.func @npu_segment_1() {
  %x = loop.alloc {offset = 0 : i64} : memref<1x3x5x7xi8, "dram">
  %y = loop.alloc {offset = 128 : i64} : memref<1x3x5x7xi8, "dram">
  loop.nest domain [1, 3, 5, 7] ins(%x : memref<1x3x5x7xi8, "dram">) outs(%y : memref<1x3x5x7xi8, "dram">) maps [affine_map<(n, h, w, c) -> (n, h, w, c)>, affine_map<(n, h, w, c) -> (n, h, w, c)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  }
  func.return
}
