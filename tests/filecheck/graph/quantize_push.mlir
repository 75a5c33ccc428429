// RUN: tilewright-opt %s -p quantize-push --split-input-file | filecheck %s

// Down through a transpose, up through a reshape, and what meets in the middle cancels.
// CHECK-LABEL: func.func @main
// CHECK: %[[T:.*]] = graph.transpose %q {{.*}} -> tensor<3x2xi8, #graph.quant<[0.5], [3]>>
// CHECK-NEXT: %[[R:.*]] = graph.reshape %[[T]] {{.*}} -> tensor<6xi8, #graph.quant<[0.5], [3]>>
// CHECK-NEXT: func.return %[[R]]
func.func @main(%q: tensor<2x3xi8, #graph.quant<[0.5], [3]>>) -> tensor<6xi8, #graph.quant<[0.5], [3]>> {
  %d = graph.dequantize %q : (tensor<2x3xi8, #graph.quant<[0.5], [3]>>) -> tensor<2x3xf32>
  %t = graph.transpose %d {perm = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  %r = graph.reshape %t : (tensor<3x2xf32>) -> tensor<6xf32>
  %s = graph.quantize %r : (tensor<6xf32>) -> tensor<6xi8, #graph.quant<[0.5], [3]>>
  func.return %s : tensor<6xi8, #graph.quant<[0.5], [3]>>
}

// -----

// Another encoding is a table; padding pads with the stored zero.
// CHECK-LABEL: func.func @main
// CHECK: %[[P:.*]] = graph.pad %q {{.*}}value = 3.{{0+}}e+00
// CHECK: graph.lookup %[[P]], %{{.*}} -> tensor<4xi8, #graph.quant<[0.25], [-5]>>
// CHECK-NOT: graph.dequantize
func.func @main(%q: tensor<2xi8, #graph.quant<[0.5], [3]>>) -> tensor<4xi8, #graph.quant<[0.25], [-5]>> {
  %d = graph.dequantize %q : (tensor<2xi8, #graph.quant<[0.5], [3]>>) -> tensor<2xf32>
  %p = graph.pad %d {low = array<i64: 1>, high = array<i64: 1>, mode = "constant", value = 0.0 : f64} : (tensor<2xf32>) -> tensor<4xf32>
  %s = graph.quantize %p : (tensor<4xf32>) -> tensor<4xi8, #graph.quant<[0.25], [-5]>>
  func.return %s : tensor<4xi8, #graph.quant<[0.25], [-5]>>
}

// -----

// Unsigned storage becomes signed.
// CHECK-LABEL: func.func @main
// CHECK: graph.quantize %x {{.*}} -> tensor<2xi8, #graph.quant<[0.5], [-28]>>
// CHECK-NEXT: graph.dequantize
// CHECK-NEXT: func.return
func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
  %q = graph.quantize %x : (tensor<2xf32>) -> tensor<2xui8, #graph.quant<[0.5], [100]>>
  %d = graph.dequantize %q : (tensor<2xui8, #graph.quant<[0.5], [100]>>) -> tensor<2xf32>
  func.return %d : tensor<2xf32>
}
