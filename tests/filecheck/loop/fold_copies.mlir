// RUN: tilewright-opt %s -p fold-copies --print-debuginfo | filecheck %s

// Heads of a product, merged behind it: the product writes them where the copy would put them.
// CHECK-LABEL: func.func @main
// CHECK: %merged = loop.alloc : memref<8x4x16xi8, "dram">
// CHECK-NEXT: loop.nest domain [4, 8, 16]
// CHECK-SAME: outs(%merged : memref<8x4x16xi8, "dram">) maps [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d1, d0, d2)>] on "npu"
// CHECK: loc(fused["heads", "merge"])

// Kept: the innermost axis moves, so that rows would be written one by one.
// CHECK: loc("columns")
// CHECK: loc("transpose")

// Kept: somebody else reads what is copied.
// CHECK: loc("shared")
// CHECK: loc("copy of shared")

// Kept: only a part is copied, and only a part is written.
// CHECK: loc("whole")
// CHECK: loc("part")
// CHECK: loc("padded")

// Kept: what computes is no copy, the CPU's copies and makers stay, and arguments are not local.
// CHECK: loc("look-up")
// CHECK: loc("cpu maker")
// CHECK: loc("copy of cpu's")
// CHECK: loc("cpu copy")
// CHECK: loc("result")
func.func @main(%x: memref<4x8x16xi8, "dram">, %y: memref<8x4x16xi8, "dram">) attributes {num_inputs = 1 : i64} {
  %heads = loop.alloc : memref<4x8x16xi8, "dram">
  loop.nest domain [4, 8, 16] ins(%x : memref<4x8x16xi8, "dram">) outs(%heads : memref<4x8x16xi8, "dram">) maps [affine_map<(h, m, n) -> (h, m, n)>, affine_map<(h, m, n) -> (h, m, n)>] on "npu" body {
  ^bb0(%a: i8):
    %r = loop.apply "clip"(%a) {min = 0 : i64, max = 127 : i64} : (i8) -> i8
    loop.yield %r : i8
  } loc("heads")
  %merged = loop.alloc : memref<8x4x16xi8, "dram">
  loop.nest domain [8, 4, 16] ins(%heads : memref<4x8x16xi8, "dram">) outs(%merged : memref<8x4x16xi8, "dram">) maps [affine_map<(m, h, n) -> (h, m, n)>, affine_map<(m, h, n) -> (m, h, n)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("merge")
  %columns = loop.alloc : memref<8x4x16xi8, "dram">
  loop.nest domain [8, 4, 16] ins(%merged : memref<8x4x16xi8, "dram">) outs(%columns : memref<8x4x16xi8, "dram">) maps [affine_map<(m, h, n) -> (m, h, n)>, affine_map<(m, h, n) -> (m, h, n)>] on "npu" body {
  ^bb0(%a: i8):
    %r = loop.apply "clip"(%a) {min = 1 : i64, max = 127 : i64} : (i8) -> i8
    loop.yield %r : i8
  } loc("columns")
  %turned = loop.alloc : memref<8x16x4xi8, "dram">
  loop.nest domain [8, 16, 4] ins(%columns : memref<8x4x16xi8, "dram">) outs(%turned : memref<8x16x4xi8, "dram">) maps [affine_map<(m, n, h) -> (m, h, n)>, affine_map<(m, n, h) -> (m, n, h)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("transpose")
  %shared = loop.alloc : memref<4x8x16xi8, "dram">
  loop.nest domain [4, 8, 16] ins(%x : memref<4x8x16xi8, "dram">) outs(%shared : memref<4x8x16xi8, "dram">) maps [affine_map<(h, m, n) -> (h, m, n)>, affine_map<(h, m, n) -> (h, m, n)>] on "npu" body {
  ^bb0(%a: i8):
    %r = loop.apply "clip"(%a) {min = 2 : i64, max = 127 : i64} : (i8) -> i8
    loop.yield %r : i8
  } loc("shared")
  %one = loop.alloc : memref<8x4x16xi8, "dram">
  loop.nest domain [8, 4, 16] ins(%shared : memref<4x8x16xi8, "dram">) outs(%one : memref<8x4x16xi8, "dram">) maps [affine_map<(m, h, n) -> (h, m, n)>, affine_map<(m, h, n) -> (m, h, n)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("copy of shared")
  %whole = loop.alloc : memref<4x8x16xi8, "dram">
  loop.nest domain [4, 8, 16] ins(%shared : memref<4x8x16xi8, "dram">) outs(%whole : memref<4x8x16xi8, "dram">) maps [affine_map<(h, m, n) -> (h, m, n)>, affine_map<(h, m, n) -> (h, m, n)>] on "npu" body {
  ^bb0(%a: i8):
    %r = loop.apply "clip"(%a) {min = 3 : i64, max = 127 : i64} : (i8) -> i8
    loop.yield %r : i8
  } loc("whole")
  %part = loop.alloc : memref<7x4x16xi8, "dram">
  loop.nest domain [7, 4, 16] ins(%whole : memref<4x8x16xi8, "dram">) outs(%part : memref<7x4x16xi8, "dram">) maps [affine_map<(m, h, n) -> (h, m + 1, n)>, affine_map<(m, h, n) -> (m, h, n)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("part")
  %padded = loop.alloc : memref<4x8x16xi8, "dram">
  loop.nest domain [4, 7, 16] ins(%part : memref<7x4x16xi8, "dram">) outs(%padded : memref<4x8x16xi8, "dram">) maps [affine_map<(h, m, n) -> (m, h, n)>, affine_map<(h, m, n) -> (h, m + 1, n)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("padded")
  %maker = loop.alloc : memref<4x8x16xi8, "dram">
  loop.nest domain [4, 8, 16] ins(%padded : memref<4x8x16xi8, "dram">) outs(%maker : memref<4x8x16xi8, "dram">) maps [affine_map<(h, m, n) -> (h, m, n)>, affine_map<(h, m, n) -> (h, m, n)>] on "npu" body {
  ^bb0(%a: i8):
    %r = loop.apply "clip"(%a) {min = 4 : i64, max = 127 : i64} : (i8) -> i8
    loop.yield %r : i8
  } loc("look-up")
  %host = loop.alloc : memref<4x8x16xi8, "dram">
  loop.nest domain [4, 8, 16] ins(%maker : memref<4x8x16xi8, "dram">) outs(%host : memref<4x8x16xi8, "dram">) maps [affine_map<(h, m, n) -> (h, m, n)>, affine_map<(h, m, n) -> (h, m, n)>] on "cpu" body {
  ^bb0(%a: i8):
    %r = loop.apply "clip"(%a) {min = 5 : i64, max = 127 : i64} : (i8) -> i8
    loop.yield %r : i8
  } loc("cpu maker")
  %two = loop.alloc : memref<8x4x16xi8, "dram">
  loop.nest domain [8, 4, 16] ins(%host : memref<4x8x16xi8, "dram">) outs(%two : memref<8x4x16xi8, "dram">) maps [affine_map<(m, h, n) -> (h, m, n)>, affine_map<(m, h, n) -> (m, h, n)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("copy of cpu's")
  %three = loop.alloc : memref<4x8x16xi8, "dram">
  loop.nest domain [4, 8, 16] ins(%two : memref<8x4x16xi8, "dram">) outs(%three : memref<4x8x16xi8, "dram">) maps [affine_map<(h, m, n) -> (m, h, n)>, affine_map<(h, m, n) -> (h, m, n)>] on "cpu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("cpu copy")
  loop.nest domain [8, 4, 16] ins(%three : memref<4x8x16xi8, "dram">) outs(%y : memref<8x4x16xi8, "dram">) maps [affine_map<(m, h, n) -> (h, m, n)>, affine_map<(m, h, n) -> (m, h, n)>] on "npu" body {
  ^bb0(%a: i8):
    loop.yield %a : i8
  } loc("result")
  func.return
}
