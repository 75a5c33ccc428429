// RUN: tilewright-opt %s -p cse | filecheck %s

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  // CHECK-NEXT: [[a:%.*]] = graph.map "tanh" %x
  // CHECK-NEXT: [[c:%.*]] = graph.map "add" [[a]], [[a]]
  // CHECK-NEXT: func.return [[c]]
  %a = graph.map "tanh" %x : (tensor<4xf32>) -> tensor<4xf32>
  %b = graph.map "tanh" %x : (tensor<4xf32>) -> tensor<4xf32>
  %c = graph.map "add" %a, %b : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  func.return %c : tensor<4xf32>
}
