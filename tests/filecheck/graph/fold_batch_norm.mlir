// RUN: tilewright-opt %s -p fold-batch-norm,canonicalize,dce | filecheck %s

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<1x2x4x4xf32>, %v: tensor<2xf32>) -> tensor<1x2x4x4xf32> {
  // Statistics that are not constants: the definition, elementwise.
  // CHECK-NOT: graph.batch_norm
  // CHECK: graph.map "sqrt"
  // CHECK: graph.map "div"
  // CHECK: graph.map "mul"
  // CHECK: graph.map "add"
  %y = graph.batch_norm %x, %v, %v, %v, %v {epsilon = 1.0e-5 : f64} : (tensor<1x2x4x4xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>) -> tensor<1x2x4x4xf32>
  func.return %y : tensor<1x2x4x4xf32>
}
