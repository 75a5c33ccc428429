// RUN: tilewright-opt %s -p fuse-regions | filecheck %s

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<1x8x8x4xf32>, %w: tensor<1x1x4x4xf32>, %z: tensor<1x8x8x4xf32>) -> (tensor<1x8x8x4xf32>, tensor<1x8x8x4xf32>) {
  // The residual enters as an argument.
  // CHECK-NEXT: [[y:%.*]] = graph.region({{.*}} = %x : tensor<1x8x8x4xf32>, {{.*}} = %w : {{.*}}, [[z:%.*]] = %z : {{.*}}) -> tensor<1x8x8x4xf32> {
  // CHECK-NEXT:   [[c:%.*]] = graph.conv
  // CHECK-NEXT:   [[r:%.*]] = graph.map "relu" [[c]]
  // CHECK-NEXT:   [[a:%.*]] = graph.map "add" [[r]], [[z]]
  // CHECK-NEXT:   graph.yield [[a]]
  // CHECK-NEXT: }
  %c = graph.conv %x, %w {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, layout = "NHWC"} : (tensor<1x8x8x4xf32>, tensor<1x1x4x4xf32>) -> tensor<1x8x8x4xf32>
  %r = graph.map "relu" %c : (tensor<1x8x8x4xf32>) -> tensor<1x8x8x4xf32>
  %a = graph.map "add" %r, %z : (tensor<1x8x8x4xf32>, tensor<1x8x8x4xf32>) -> tensor<1x8x8x4xf32>
  // Another user, or another device, keeps operations apart.
  // CHECK-NEXT: [[t:%.*]] = graph.map "tanh" [[y]] {device = "cpu"}
  // CHECK-NEXT: [[n:%.*]] = graph.map "neg" [[t]] {device = "npu"}
  // CHECK-NEXT: func.return [[y]], [[n]]
  %t = graph.map "tanh" %a {device = "cpu"} : (tensor<1x8x8x4xf32>) -> tensor<1x8x8x4xf32>
  %n = graph.map "neg" %t {device = "npu"} : (tensor<1x8x8x4xf32>) -> tensor<1x8x8x4xf32>
  func.return %a, %n : tensor<1x8x8x4xf32>, tensor<1x8x8x4xf32>
}
