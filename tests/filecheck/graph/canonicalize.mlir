// RUN: tilewright-opt %s -p canonicalize | filecheck %s

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<1x4x8x8xf32>, %w: tensor<6x4x3x3xf32>) -> (tensor<1x6x8x8xf32>, tensor<1x4x8x8xf32>) {
  // Two transposes that undo each other vanish, and the pad moves into the convolution.
  // CHECK-NEXT: [[conv:%.*]] = graph.conv %x, %w {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>
  %i = graph.transpose %x {perm = array<i64: 0, 2, 3, 1>} : (tensor<1x4x8x8xf32>) -> tensor<1x8x8x4xf32>
  %j = graph.transpose %i {perm = array<i64: 0, 3, 1, 2>} : (tensor<1x8x8x4xf32>) -> tensor<1x4x8x8xf32>
  %p = graph.pad %j {low = array<i64: 0, 0, 1, 1>, high = array<i64: 0, 0, 1, 1>} : (tensor<1x4x8x8xf32>) -> tensor<1x4x10x10xf32>
  %y = graph.conv %p, %w {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>} : (tensor<1x4x10x10xf32>, tensor<6x4x3x3xf32>) -> tensor<1x6x8x8xf32>
  // relu then clip to at most 6 is one clip.
  // CHECK-NEXT: [[clip:%.*]] = graph.map "clip" [[conv]] {params = {min = 0.000000e+00 : f64, max = 6.000000e+00 : f64}}
  %r = graph.map "relu" %y : (tensor<1x6x8x8xf32>) -> tensor<1x6x8x8xf32>
  %c = graph.map "clip" %r {params = {max = 6.0 : f64}} : (tensor<1x6x8x8xf32>) -> tensor<1x6x8x8xf32>
  // Reshapes compose; the whole is taken by no slice.
  %s = graph.slice %x {starts = array<i64: 0, 0, 0, 0>, sizes = array<i64: 1, 4, 8, 8>, steps = array<i64: 1, 1, 1, 1>} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %a = graph.reshape %s : (tensor<1x4x8x8xf32>) -> tensor<4x64xf32>
  %b = graph.reshape %a : (tensor<4x64xf32>) -> tensor<1x4x8x8xf32>
  %n = graph.map "neg" %b : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  %m = graph.map "neg" %n : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  // CHECK-NEXT: func.return [[clip]], %x
  func.return %c, %m : tensor<1x6x8x8xf32>, tensor<1x4x8x8xf32>
}
