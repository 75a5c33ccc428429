// RUN: tilewright-opt %s -p assign-device --target gemmini-16x16 | filecheck %s

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
