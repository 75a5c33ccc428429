// RUN: tilewright-opt %s -p lower-to-loop,bufferize,allocate-arena,outline-npu | filecheck %s

// The NPU's nest is cloned into a function that declares its buffers at their places.
func.func @main(%x: tensor<32xf32>) -> tensor<32xf32> {
  %a = graph.map "exp" %x {device = "cpu"} : (tensor<32xf32>) -> tensor<32xf32>
  %b = graph.map "neg" %a {device = "npu"} : (tensor<32xf32>) -> tensor<32xf32>
  func.return %b : tensor<32xf32>
}

// CHECK:      func.func @main
// CHECK:      func.func @npu_segment_1() {
// CHECK-NEXT:   [[A:%.*]] = loop.alloc {offset = 256 : i64} : memref<32xf32, "dram">
// CHECK-NEXT:   [[B:%.*]] = loop.alloc {offset = 128 : i64} : memref<32xf32, "dram">
// CHECK-NEXT:   loop.nest domain [32] ins([[A]] : memref<32xf32, "dram">) outs([[B]] : memref<32xf32, "dram">)
// CHECK:        func.return
