// RUN: tilewright-opt %s -p lower-to-loop,bufferize | filecheck %s

// Both operands of the concatenation are written into it; the result goes to the output argument.
func.func @main(%x: tensor<2x3xf32>) -> (tensor<10xf32>, tensor<2x3xf32>) {
  %a = graph.map "relu" %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %s = graph.slice %x {starts = array<i64: 0, 1>, sizes = array<i64: 2, 2>, steps = array<i64: 1, 1>} : (tensor<2x3xf32>) -> tensor<2x2xf32>
  %c = graph.concat %a, %s {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x2xf32>) -> tensor<2x5xf32>
  %r = graph.reshape %c : (tensor<2x5xf32>) -> tensor<10xf32>
  func.return %r, %x : tensor<10xf32>, tensor<2x3xf32>
}

// CHECK:      func.func @main(%x: memref<2x3xf32, "dram">, %r: memref<10xf32, "dram">, %{{.*}}: memref<2x3xf32, "dram">)
// CHECK-SAME: num_inputs = 1 : i64
// CHECK-NEXT: %c = loop.reshape %r : memref<10xf32, "dram"> -> memref<2x5xf32, "dram">
// CHECK-NEXT: loop.nest domain [2, 3] ins(%x : memref<2x3xf32, "dram">) outs(%c : memref<2x5xf32, "dram">)
// CHECK:      loop.nest domain [2, 2] ins(%x : memref<2x3xf32, "dram">) outs(%c : memref<2x5xf32, "dram">)
// CHECK-SAME: (d0, (d1 + 1))>, affine_map<(d0, d1) -> (d0, (d1 + 3))>
// CHECK-NOT:  loop.alloc
// CHECK:      loop.nest domain [2, 3] ins(%x
// CHECK:      func.return
