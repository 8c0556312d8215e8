import EvimCore
import EvimCoreML
import Foundation

extension EvimModel {
    /// The likeliest classes of a photo.
    ///
    /// The photo crosses to the model's actor as its file, so that decoding it does not hold up the screen.
    ///
    /// - Throws: `PhotoError` where the data is no image, and what `classify(_:top:)` throws.
    func classify(photo data: Data) throws -> [Guess] {
        try classify(Photo(decoding: data).image)
    }
}
