// RUN: tilewright-opt %s -p dce | filecheck %s

// CHECK-LABEL: func.func @main
// CHECK-NEXT:    func.return %x
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = graph.map "tanh" %x : (tensor<4xf32>) -> tensor<4xf32>
  %b = graph.map "exp" %a : (tensor<4xf32>) -> tensor<4xf32>
  func.return %x : tensor<4xf32>
}
