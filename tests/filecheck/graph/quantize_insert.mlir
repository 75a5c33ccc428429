// RUN: tilewright-opt %s -p quantize-insert --split-input-file | filecheck %s

// A model that is quantised already keeps its own encodings, and needs no calibration data.
// CHECK: graph.quantize %x {{.*}} -> tensor<1x4xi8, #graph.quant<[0.5], [3]>>
// CHECK-NEXT: graph.dequantize
// CHECK-NEXT: func.return
func.func @main(%x: tensor<1x4xf32>) -> tensor<1x4xf32> {
  %q = graph.quantize %x : (tensor<1x4xf32>) -> tensor<1x4xi8, #graph.quant<[0.5], [3]>>
  %d = graph.dequantize %q : (tensor<1x4xi8, #graph.quant<[0.5], [3]>>) -> tensor<1x4xf32>
  func.return %d : tensor<1x4xf32>
}

// -----

// Nothing here is worth quantising: no convolution, no product with constant weights.
// CHECK: graph.map "exp" %x
// CHECK-NEXT: func.return
func.func @main(%x: tensor<1x4xf32>) -> tensor<1x4xf32> {
  %y = graph.map "exp" %x : (tensor<1x4xf32>) -> tensor<1x4xf32>
  func.return %y : tensor<1x4xf32>
}
