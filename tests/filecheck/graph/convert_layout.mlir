// RUN: tilewright-opt %s -p convert-layout | filecheck %s

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<1x4x8x8xf32>) -> tensor<1x4x4x4xf32> {
  // CHECK-NEXT: [[t:%.*]] = graph.transpose %x {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x4x8x8xf32>) -> tensor<1x8x8x4xf32>
  // CHECK-NEXT: [[p:%.*]] = graph.pool [[t]] {{.*}}layout = "NHWC"{{.*}} : (tensor<1x8x8x4xf32>) -> tensor<1x4x4x4xf32>
  // CHECK-NEXT: [[y:%.*]] = graph.transpose [[p]] {perm = array<i64: 0, 3, 1, 2>}
  // CHECK-NEXT: func.return [[y]]
  %y = graph.pool %x {kind = "max", kernel = array<i64: 2, 2>, strides = array<i64: 2, 2>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, ceil_pads = array<i64: 0, 0>} : (tensor<1x4x8x8xf32>) -> tensor<1x4x4x4xf32>
  func.return %y : tensor<1x4x4x4xf32>
}
