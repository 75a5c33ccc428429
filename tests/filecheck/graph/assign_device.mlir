// RUN: tilewright-opt %s -p assign-device --target gemmini-16x16 --split-input-file | filecheck %s

// CHECK-LABEL: func.func @main
// CHECK: graph.qadd {{.*}}device = "npu"
// CHECK: graph.slice {{.*}}device = "npu"
// CHECK: graph.dequantize {{.*}}device = "cpu"
// CHECK: graph.softmax {{.*}}device = "cpu"
func.func @main(%a: tensor<1x4xi8, #graph.quant<[0.5], [1]>>) -> tensor<1x2xf32> {
  %s = graph.qadd %a, %a {za = 1 : i64, ma = 1048576 : i64, zb = 1 : i64, mb = 1048576 : i64, multiplier = 1073741824 : i64, shift = 50 : i64, zp = 1 : i64} : (tensor<1x4xi8, #graph.quant<[0.5], [1]>>, tensor<1x4xi8, #graph.quant<[0.5], [1]>>) -> tensor<1x4xi8, #graph.quant<[0.5], [1]>>
  %t = graph.slice %s {starts = array<i64: 0, 0>, sizes = array<i64: 1, 2>, steps = array<i64: 1, 1>} : (tensor<1x4xi8, #graph.quant<[0.5], [1]>>) -> tensor<1x2xi8, #graph.quant<[0.5], [1]>>
  %d = graph.dequantize %t : (tensor<1x2xi8, #graph.quant<[0.5], [1]>>) -> tensor<1x2xf32>
  %p = graph.softmax %d {axis = 1 : i64} : (tensor<1x2xf32>) -> tensor<1x2xf32>
  func.return %p : tensor<1x2xf32>
}

// -----

// A gather by constant indices becomes slices, of which the DMA engine is capable.
// CHECK-LABEL: func.func @main(%g
// CHECK:      %[[S:.*]] = graph.qadd
// CHECK:      %[[A:.*]] = graph.slice %[[S]] {{.*}}device = "npu"{{.*}}starts = array<i64: 0, 1>, sizes = array<i64: 1, 2>, steps = array<i64: 1, 2>
// CHECK:      %[[B:.*]] = graph.slice %[[S]] {{.*}}starts = array<i64: 0, 0>, sizes = array<i64: 1, 1>
// CHECK-NEXT: graph.concat %[[A]], %[[B]] {{.*}}device = "npu"
func.func @main(%g: tensor<1x4xi8, #graph.quant<[0.5], [1]>>) -> tensor<1x3xi8, #graph.quant<[0.5], [1]>> {
  %i = graph.constant dense<[1, 3, 0]> : tensor<3xi64> : tensor<3xi64>
  %s = graph.qadd %g, %g {za = 1 : i64, ma = 1048576 : i64, zb = 1 : i64, mb = 1048576 : i64, multiplier = 1073741824 : i64, shift = 50 : i64, zp = 1 : i64} : (tensor<1x4xi8, #graph.quant<[0.5], [1]>>, tensor<1x4xi8, #graph.quant<[0.5], [1]>>) -> tensor<1x4xi8, #graph.quant<[0.5], [1]>>
  %t = graph.gather %s, %i {axis = 1 : i64} : (tensor<1x4xi8, #graph.quant<[0.5], [1]>>, tensor<3xi64>) -> tensor<1x3xi8, #graph.quant<[0.5], [1]>>
  func.return %t : tensor<1x3xi8, #graph.quant<[0.5], [1]>>
}
