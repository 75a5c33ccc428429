// RUN: tilewright-opt %s -p quantize-integer --split-input-file --print-debuginfo | filecheck %s

// The sum, its ReLU and the rounding are one integer operation that carries both nodes.
// CHECK-LABEL: func.func @main
// CHECK-NEXT: %[[S:.*]] = graph.qadd %a, %b {za = 1 : i64, ma = 1048576 : i64, zb = 2 : i64, mb = 524288 : i64, multiplier = 1073741824 : i64, shift = 49 : i64, zp = 4 : i64, lo = 4 : i64} {{.*}} loc(fused["add", "relu"])
// CHECK-NEXT: func.return %[[S]]
func.func @main(%a: tensor<4xi8, #graph.quant<[0.5], [1]>>, %b: tensor<4xi8, #graph.quant<[0.25], [2]>>) -> tensor<4xi8, #graph.quant<[0.25], [4]>> {
  %x = graph.dequantize %a : (tensor<4xi8, #graph.quant<[0.5], [1]>>) -> tensor<4xf32>
  %y = graph.dequantize %b : (tensor<4xi8, #graph.quant<[0.25], [2]>>) -> tensor<4xf32>
  %s = graph.map "add" %x, %y : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32> loc("add")
  %r = graph.map "relu" %s : (tensor<4xf32>) -> tensor<4xf32> loc("relu")
  %q = graph.quantize %r : (tensor<4xf32>) -> tensor<4xi8, #graph.quant<[0.25], [4]>> loc("relu")
  func.return %q : tensor<4xi8, #graph.quant<[0.25], [4]>>
}

// -----

// A product with constant weights; the zero point of the left operand stays an attribute.
// CHECK-LABEL: func.func @main
// CHECK: %[[P:.*]] = graph.matmul %a, %{{.*}} {a_zp = 7 : i64} : (tensor<1x2xi8, #graph.quant<[0.5], [7]>>, tensor<2x1xi8>) -> tensor<1x1xi32>
// CHECK-NEXT: %multiplier = graph.constant dense<1073741824>
// CHECK-NEXT: %shift = graph.constant dense<33>
// CHECK-NEXT: graph.requantize %[[P]], %multiplier, %shift {zp = -1 : i64}
func.func @main(%a: tensor<1x2xi8, #graph.quant<[0.5], [7]>>) -> tensor<1x1xi8, #graph.quant<[1.0], [-1]>> {
  %w = graph.constant dense<[[3], [-4]]> : tensor<2x1xi8> : tensor<2x1xi8, #graph.quant<[0.25], [0]>>
  %x = graph.dequantize %a : (tensor<1x2xi8, #graph.quant<[0.5], [7]>>) -> tensor<1x2xf32>
  %y = graph.dequantize %w : (tensor<2x1xi8, #graph.quant<[0.25], [0]>>) -> tensor<2x1xf32>
  %p = graph.matmul %x, %y : (tensor<1x2xf32>, tensor<2x1xf32>) -> tensor<1x1xf32> loc("fc")
  %q = graph.quantize %p : (tensor<1x1xf32>) -> tensor<1x1xi8, #graph.quant<[1.0], [-1]>>
  func.return %q : tensor<1x1xi8, #graph.quant<[1.0], [-1]>>
}

// -----

// Any expression of one tensor is one table.
// CHECK-LABEL: func.func @main
// CHECK-NOT: graph.map
// CHECK: graph.lookup %a, %table {{.*}} loc(fused["sigmoid", "mul"])
func.func @main(%a: tensor<4xi8, #graph.quant<[0.5], [1]>>) -> tensor<4xi8, #graph.quant<[0.25], [4]>> {
  %x = graph.dequantize %a : (tensor<4xi8, #graph.quant<[0.5], [1]>>) -> tensor<4xf32>
  %s = graph.map "sigmoid" %x : (tensor<4xf32>) -> tensor<4xf32> loc("sigmoid")
  %m = graph.map "mul" %x, %s : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32> loc("mul")
  %q = graph.quantize %m : (tensor<4xf32>) -> tensor<4xi8, #graph.quant<[0.25], [4]>>
  func.return %q : tensor<4xi8, #graph.quant<[0.25], [4]>>
}

// -----

// So is a product of two tensors computed at run time: both zero points stay attributes.
// CHECK-LABEL: func.func @main
// CHECK-NEXT: %[[P:.*]] = graph.matmul %a, %b {a_zp = 7 : i64, b_zp = -3 : i64} : (tensor<2x4x8xi8, #graph.quant<[0.5], [7]>>, tensor<8x4xi8, #graph.quant<[0.25], [-3]>>) -> tensor<2x4x4xi32>
// CHECK: graph.requantize %[[P]], %multiplier, %shift {zp = -1 : i64}
func.func @main(%a: tensor<2x4x8xi8, #graph.quant<[0.5], [7]>>, %b: tensor<8x4xi8, #graph.quant<[0.25], [-3]>>) -> tensor<2x4x4xi8, #graph.quant<[1.0], [-1]>> {
  %x = graph.dequantize %a : (tensor<2x4x8xi8, #graph.quant<[0.5], [7]>>) -> tensor<2x4x8xf32>
  %y = graph.dequantize %b : (tensor<8x4xi8, #graph.quant<[0.25], [-3]>>) -> tensor<8x4xf32>
  %p = graph.matmul %x, %y : (tensor<2x4x8xf32>, tensor<8x4xf32>) -> tensor<2x4x4xf32> loc("scores")
  %q = graph.quantize %p : (tensor<2x4x4xf32>) -> tensor<2x4x4xi8, #graph.quant<[1.0], [-1]>>
  func.return %q : tensor<2x4x4xi8, #graph.quant<[1.0], [-1]>>
}
