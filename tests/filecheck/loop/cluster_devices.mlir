// RUN: tilewright-opt %s -p lower-to-loop,cluster-devices | filecheck %s

// Two independent chains, interleaved, become one run on each device.
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %a = graph.map "relu" %x {device = "npu"} : (tensor<4xf32>) -> tensor<4xf32>
  %b = graph.map "exp" %x {device = "cpu"} : (tensor<4xf32>) -> tensor<4xf32>
  %c = graph.map "neg" %a {device = "npu"} : (tensor<4xf32>) -> tensor<4xf32>
  %d = graph.map "log" %b {device = "cpu"} : (tensor<4xf32>) -> tensor<4xf32>
  func.return %c, %d : tensor<4xf32>, tensor<4xf32>
}

// CHECK:     %b = loop.nest {{.*}} on "cpu"
// CHECK:     %d = loop.nest {{.*}} on "cpu"
// CHECK:     %a = loop.nest {{.*}} on "npu"
// CHECK:     %c = loop.nest {{.*}} on "npu"
// CHECK-NOT: loop.nest
