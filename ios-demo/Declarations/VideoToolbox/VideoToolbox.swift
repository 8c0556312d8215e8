// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// What these mean is said in Apple's own documentation.

import AppleFoundation
import CoreGraphics
import CoreVideo

@discardableResult
public func VTCreateCGImageFromCVPixelBuffer(
    _ pixelBuffer: CVPixelBuffer, options: CFDictionary?, imageOut: UnsafeMutablePointer<CGImage?>
) -> OSStatus {
    fatalError("a declaration")
}
