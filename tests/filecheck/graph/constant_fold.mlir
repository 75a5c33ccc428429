// RUN: tilewright-opt %s -p constant-fold | filecheck %s
// RUN: tilewright-opt %s -p "constant-fold{max-elements=1}" | filecheck %s --check-prefix BOUNDED

// CHECK-LABEL: func.func @main
// BOUNDED-LABEL: func.func @main
func.func @main() -> (tensor<2xi64>, tensor<4096x4096xi64>) {
  // CHECK-NEXT: [[sum:%.*]] = graph.constant dense<[5, 7]> : tensor<2xi64> : tensor<2xi64>
  // BOUNDED: graph.map "add"
  %a = graph.constant dense<[2, 3]> : tensor<2xi64> : tensor<2xi64>
  %b = graph.constant dense<[3, 4]> : tensor<2xi64> : tensor<2xi64>
  %c = graph.map "add" %a, %b : (tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
  // A scalar is not blown up to 128 MB.
  // CHECK-NEXT: [[one:%.*]] = graph.constant dense<1>
  // CHECK-NEXT: [[big:%.*]] = graph.broadcast [[one]]
  %one = graph.constant dense<1> : tensor<1xi64> : tensor<1xi64>
  %big = graph.broadcast %one : (tensor<1xi64>) -> tensor<4096x4096xi64>
  // CHECK-NEXT: func.return [[sum]], [[big]]
  func.return %c, %big : tensor<2xi64>, tensor<4096x4096xi64>
}
