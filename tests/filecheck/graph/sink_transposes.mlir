// RUN: tilewright-opt %s -p sink-transposes --split-input-file | filecheck %s

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<1x8x8x4xf32>, %q: tensor<1x8x8x4xi32>) -> (tensor<1x8x8x4xf32>, tensor<1x4x8xf32>, tensor<1x8x8x4xf32>) {
  // The channel shuffle of a channels-first model: only the channels are transposed.
  // CHECK-NEXT: [[split:%.*]] = graph.reshape %x : (tensor<1x8x8x4xf32>) -> tensor<1x8x8x2x2xf32>
  // CHECK-NEXT: [[swap:%.*]] = graph.transpose [[split]] {perm = array<i64: 0, 1, 2, 4, 3>}
  // CHECK-NEXT: [[shuffled:%.*]] = graph.reshape [[swap]] : (tensor<1x8x8x2x2xf32>) -> tensor<1x8x8x4xf32>
  %t = graph.transpose %x {perm = array<i64: 0, 3, 1, 2>} : (tensor<1x8x8x4xf32>) -> tensor<1x4x8x8xf32>
  %a = graph.reshape %t : (tensor<1x4x8x8xf32>) -> tensor<1x2x2x8x8xf32>
  %b = graph.transpose %a {perm = array<i64: 0, 2, 1, 3, 4>} : (tensor<1x2x2x8x8xf32>) -> tensor<1x2x2x8x8xf32>
  %c = graph.reshape %b : (tensor<1x2x2x8x8xf32>) -> tensor<1x4x8x8xf32>
  %d = graph.transpose %c {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x4x8x8xf32>) -> tensor<1x8x8x4xf32>
  // A reduction that drops an axis.
  // CHECK-NEXT: [[max:%.*]] = graph.reduce %x {kind = "max", axes = array<i64: 1>, keepdims = 0 : i64{{.*}}} : (tensor<1x8x8x4xf32>) -> tensor<1x8x4xf32>
  // CHECK-NEXT: [[out:%.*]] = graph.transpose [[max]] {perm = array<i64: 0, 2, 1>}
  %m = graph.reduce %t {kind = "max", axes = array<i64: 2>, keepdims = 0 : i64} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8xf32>
  // Past elementwise operations and a concatenation, and away.
  // CHECK-NEXT: [[relu:%.*]] = graph.map "relu" %x
  // CHECK-NEXT: [[tanh:%.*]] = graph.map "tanh" %x
  // CHECK-NEXT: [[sum:%.*]] = graph.map "add" [[relu]], [[tanh]]
  %r = graph.map "relu" %t : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %h = graph.map "tanh" %t : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %s = graph.map "add" %r, %h : (tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %z = graph.transpose %s {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x4x8x8xf32>) -> tensor<1x8x8x4xf32>
  // CHECK-NEXT: func.return [[shuffled]], [[out]], [[sum]]
  func.return %d, %m, %z : tensor<1x8x8x4xf32>, tensor<1x4x8xf32>, tensor<1x8x8x4xf32>
}

// -----

// Keys of attention: the matrix unit reads them transposed; a transpose for others is the CPU's.
// CHECK-LABEL: func.func @main
// CHECK: graph.transpose %k {device = "npu", perm = array<i64: 0, 2, 1>}
// CHECK: graph.transpose %v {device = "cpu", perm = array<i64: 0, 2, 1>}
func.func @main(%q: tensor<2x5x8xi8>, %k: tensor<2x6x8xi8>, %v: tensor<2x6x8xi8>) -> (tensor<2x5x6xi32>, tensor<2x8x6xi8>) {
  %t = graph.transpose %k {perm = array<i64: 0, 2, 1>, device = "npu"} : (tensor<2x6x8xi8>) -> tensor<2x8x6xi8>
  %p = graph.matmul %q, %t {device = "npu"} : (tensor<2x5x8xi8>, tensor<2x8x6xi8>) -> tensor<2x5x6xi32>
  %u = graph.transpose %v {perm = array<i64: 0, 2, 1>, device = "npu"} : (tensor<2x6x8xi8>) -> tensor<2x8x6xi8>
  func.return %p, %u : tensor<2x5x6xi32>, tensor<2x8x6xi8>
}
