// RUN: tilewright-opt %s -p distribute --target auto-200:scratchpad.bytes=262144 --print-debuginfo | filecheck %s
// RUN: tilewright-opt %s -p distribute,promote-buffers,tile-npu --target auto-200:scratchpad.bytes=262144 | filecheck %s --check-prefix=TILE

// Eight images, of which 256 KiB hold two and not eight: each core has two of its own, from the
// first nest to the last, also where the rows of a matrix are pixels.  A window along the rows
// (below) keeps all nests of a segment from it.
// CHECK-LABEL: func.func @npu_segment_0
// CHECK: } attributes {split = array<i64: 0, 0>, sharded} loc("act")
// CHECK: } attributes {split = array<i64: 0, 0>, sharded} loc("pool")
// CHECK: } attributes {split = array<i64: 0, 0>, sharded} loc("matrix")
// CHECK-LABEL: func.func @npu_segment_1
// CHECK-NOT: sharded
// CHECK: func.return

// A core loads its images, holds them alone, borders included, and sends nothing.
// TILE-LABEL: func.func @npu_segment_0
// TILE: %y = loop.alloc {offset = {{[0-9]+}} : i64} : memref<2x30x30x64xi8, "spm">
// TILE: loop.subview %y[] at affine_map<() -> (0, 0, 0, 0)> {{.*}} -> memref<2x1x30x64xi8, "spm">
// TILE: loop.copy load %x[%[[N:d0]], %d1, %column, %row] at affine_map<(d0, d1, d2, d3) -> (((d0 + (d2 * 2)) + (d3 * 4)), d1, 0, 0)>
// TILE: loop.subview %y[%[[N]], %d1] at affine_map<(d0, d1) -> (d0, (d1 + 1), 1, 0)>
// TILE-NOT: loop.broadcast
// TILE: %v = loop.alloc {offset = {{[0-9]+}} : i64} : memref<2x28x28x64xi8, "spm">
// TILE-NEXT: %p = loop.reshape %v : memref<2x28x28x64xi8, "spm"> -> memref<1568x64xi8, "spm">
// TILE-NOT: loop.broadcast
// TILE: loop.copy store %z[%{{.*}}, %column, %row] at affine_map<(d0, d1, d2) -> (((d0 + (d1 * 1568)) + (d2 * 3136)), 0)>
// TILE-LABEL: func.func @npu_segment_1
func.func @npu_segment_0() {
  %x = loop.alloc {offset = 0 : i64} : memref<8x28x28x64xi8, "dram">
  %y = loop.alloc {offset = 401408 : i64, local} : memref<8x28x28x64xi8, "dram">
  %z = loop.alloc {offset = 802816 : i64} : memref<6272x64xi8, "dram">
  loop.nest domain [8, 28, 28, 64] ins(%x : memref<8x28x28x64xi8, "dram">) outs(%y : memref<8x28x28x64xi8, "dram">) maps [affine_map<(n, h, w, c) -> (n, h, w, c)>, affine_map<(n, h, w, c) -> (n, h, w, c)>] on "npu" body {
  ^bb0(%a: i8):
    %b = loop.apply "clip"(%a) {min = 0 : i64, max = 9 : i64} : (i8) -> i8
    loop.yield %b : i8
  } loc("act")
  %v = loop.alloc {offset = 1204224 : i64, local} : memref<8x28x28x64xi8, "dram">
  loop.nest domain [8, 28, 28, 64, 3, 3] reduce "max" over [4, 5] ins(%y : memref<8x28x28x64xi8, "dram">) outs(%v : memref<8x28x28x64xi8, "dram">) maps [affine_map<(n, h, w, c, kh, kw) -> (n, h + kh - 1, w + kw - 1, c)>, affine_map<(n, h, w, c, kh, kw) -> (n, h, w, c)>] fills [-128 : i64] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("pool")
  %p = loop.reshape %v : memref<8x28x28x64xi8, "dram"> -> memref<6272x64xi8, "dram">
  loop.nest domain [6272, 64] ins(%p : memref<6272x64xi8, "dram">) outs(%z : memref<6272x64xi8, "dram">) maps [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>] on "npu" body {
  ^bb0(%a: i8):
    %b = loop.apply "clip"(%a) {min = 0 : i64, max = 5 : i64} : (i8) -> i8
    loop.yield %b : i8
  } loc("matrix")
  func.return
}

func.func @npu_segment_1() {
  %x = loop.alloc {offset = 0 : i64} : memref<8x28x28x64xi8, "dram">
  %y = loop.alloc {offset = 401408 : i64} : memref<8x28x28x64xi8, "dram">
  loop.nest domain [8, 28, 28, 64, 3] reduce "max" over [4] ins(%x : memref<8x28x28x64xi8, "dram">) outs(%y : memref<8x28x28x64xi8, "dram">) maps [affine_map<(n, h, w, c, kn) -> (n + kn - 1, h, w, c)>, affine_map<(n, h, w, c, kn) -> (n, h, w, c)>] fills [-128 : i64] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("images")
  func.return
}
