// An operator of a plugin (here one that is not installed) is pure, and nothing moves through it.
// RUN: tilewright-opt %s | filecheck %s --check-prefix TEXT
// RUN: tilewright-opt %s -p canonicalize,convert-layout,sink-transposes,cse,dce,fuse-regions | filecheck %s
// RUN: tilewright-opt %s -p assign-device --target gemmini-16x16 | filecheck %s --check-prefix DEVICE

// TEXT: %p = graph.custom "com.example" "Blend" %t, %c {output = 1 : i64, params = {axes = [1 : i64, -2 : i64], mode = "fast", share = 2.500000e-01 : f64}} : (tensor<1x8x8x4xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>

// CHECK: [[T:%.+]] = graph.transpose %x
// CHECK: [[C:%.+]] = graph.conv [[T]]{{.*}}layout = "NHWC"
// CHECK: [[CT:%.+]] = graph.transpose [[C]] {perm = array<i64: 0, 3, 1, 2>}
// CHECK: [[P:%.+]] = graph.custom "com.example" "Blend" [[T]], [[CT]]
// CHECK-NOT: graph.custom
// CHECK: graph.map "add" [[P]], [[P]]

// DEVICE: graph.custom {{.*}}device = "cpu"
func.func @main(%x: tensor<1x4x8x8xf32>, %w: tensor<4x4x3x3xf32>) -> tensor<1x4x8x8xf32> {
  %c = graph.conv %x, %w {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>} : (tensor<1x4x8x8xf32>, tensor<4x4x3x3xf32>) -> tensor<1x4x8x8xf32>
  %t = graph.transpose %x {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x4x8x8xf32>) -> tensor<1x8x8x4xf32>
  %p = graph.custom "com.example" "Blend" %t, %c {output = 1 : i64, params = {axes = [1, -2], mode = "fast", share = 0.25 : f64}} : (tensor<1x8x8x4xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %q = graph.custom "com.example" "Blend" %t, %c {output = 1 : i64, params = {axes = [1, -2], mode = "fast", share = 0.25 : f64}} : (tensor<1x8x8x4xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %u = graph.custom "com.example" "Blend" %t, %c {output = 0 : i64, params = {}} : (tensor<1x8x8x4xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %y = graph.map "add" %p, %q : (tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  func.return %y : tensor<1x4x8x8xf32>
}
