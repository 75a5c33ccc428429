// RUN: tilewright-opt %s -p fit-npu --target gemmini-16x16 | filecheck %s

// What fits stays; seven axes that no transfer can merge go to the CPU.
// CHECK: %a = loop.nest domain [1, 4, 4, 16]{{.*}} on "npu"
// CHECK: %b = loop.nest domain [3, 3, 3, 3, 3, 3, 3]{{.*}} on "cpu"
func.func @main(%x: tensor<1x4x4x16xi8>, %y: tensor<3x3x3x3x3x3x3xi8>) -> (tensor<1x4x4x16xi8>, tensor<3x3x3x3x3x3x3xi8>) {
  %a = loop.nest domain [1, 4, 4, 16] ins(%x : tensor<1x4x4x16xi8>) maps [affine_map<(n, h, w, c) -> (n, h, w, c)>, affine_map<(n, h, w, c) -> (n, h, w, c)>] -> tensor<1x4x4x16xi8> on "npu" body {
  ^bb0(%v: i8):
    %q = loop.apply "relu"(%v) : (i8) -> i8
    loop.yield %q : i8
  }
  %b = loop.nest domain [3, 3, 3, 3, 3, 3, 3] ins(%y : tensor<3x3x3x3x3x3x3xi8>) maps [affine_map<(a, b, c, d, e, f, g) -> (f, e, d, c, b, a, g)>, affine_map<(a, b, c, d, e, f, g) -> (a, b, c, d, e, f, g)>] -> tensor<3x3x3x3x3x3x3xi8> on "npu" body {
  ^bb0(%v: i8):
    loop.yield %v : i8
  }
  func.return %a, %b : tensor<1x4x4x16xi8>, tensor<3x3x3x3x3x3x3xi8>
}
