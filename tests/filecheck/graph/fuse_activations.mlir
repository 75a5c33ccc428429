// RUN: tilewright-opt %s -p fuse-activations | filecheck %s

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  // CHECK-NEXT: [[silu:%.*]] = graph.map "silu" %x
  %s = graph.map "sigmoid" %x : (tensor<4xf32>) -> tensor<4xf32>
  %y = graph.map "mul" %s, %x : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  // CHECK-NEXT: [[mish:%.*]] = graph.map "mish" %x
  %p = graph.map "softplus" %x : (tensor<4xf32>) -> tensor<4xf32>
  %t = graph.map "tanh" %p : (tensor<4xf32>) -> tensor<4xf32>
  %m = graph.map "mul" %x, %t : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  // CHECK-NEXT: func.return [[silu]], [[mish]]
  func.return %y, %m : tensor<4xf32>, tensor<4xf32>
}
