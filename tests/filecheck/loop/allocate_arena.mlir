// RUN: tilewright-opt %s -p lower-to-loop,bufferize,allocate-arena | filecheck %s

// A chain needs two buffers in turn; equal constants share one place.
func.func @main(%x: tensor<32xf32>) -> tensor<32xf32> {
  %k = graph.constant dense<[1, 2]> : tensor<2xi32> : tensor<2xi32>
  %l = graph.constant dense<[1, 2]> : tensor<2xi32> : tensor<2xi32>
  %s = graph.map "add" %k, %l : (tensor<2xi32>, tensor<2xi32>) -> tensor<2xi32>
  %a = graph.map "neg" %x : (tensor<32xf32>) -> tensor<32xf32>
  %b = graph.map "neg" %a : (tensor<32xf32>) -> tensor<32xf32>
  %c = graph.map "neg" %b : (tensor<32xf32>) -> tensor<32xf32>
  %d = graph.map "neg" %c : (tensor<32xf32>) -> tensor<32xf32>
  func.return %d : tensor<32xf32>
}

// CHECK:      arg_offsets = array<i64: 0, 128>, arena_bytes = 512 : i64, arena_lower_bound = 512 : i64, const_bytes = 256 : i64
// CHECK:      %k = loop.global dense<[1, 2]> : tensor<2xi32> {offset = 0 : i64} : memref<2xi32, "const">
// CHECK:      %l = loop.global dense<[1, 2]> : tensor<2xi32> {offset = 0 : i64} : memref<2xi32, "const">
// CHECK:      %a = loop.alloc {offset = [[A:[0-9]+]] : i64} : memref<32xf32, "dram">
// CHECK:      %b = loop.alloc {offset = {{.*}} : i64} : memref<32xf32, "dram">
// CHECK:      %c = loop.alloc {offset = [[A]] : i64} : memref<32xf32, "dram">
