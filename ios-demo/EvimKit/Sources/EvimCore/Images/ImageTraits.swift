/// What is known of an image before its pixels are looked at, and whether a model can be shown it.
public struct ImageTraits: Equatable, Sendable {
    /// What an image's values are of.
    public enum ColorModel: Equatable, Sendable {
        /// Red, green and blue.
        case rgb
        /// Grey.
        case monochrome
        /// Anything else, by its name.
        case other(String)
    }

    /// Columns of pixels.
    public let width: Int
    /// Rows of pixels.
    public let height: Int
    /// Whether it says how transparent its pixels are.
    public let hasAlpha: Bool
    /// What its values are of.
    public let colorModel: ColorModel

    /// Describes an image.
    public init(width: Int, height: Int, hasAlpha: Bool, colorModel: ColorModel) {
        self.width = width
        self.height = height
        self.hasAlpha = hasAlpha
        self.colorModel = colorModel
    }

    /// Refuses an image that has no pixels, or whose colours would have to be guessed.
    ///
    /// - Throws: `EvimError.emptyImage`, `EvimError.transparentImage`, `EvimError.unsupportedColorSpace`.
    public func check() throws(EvimError) {
        guard width > 0, height > 0 else { throw .emptyImage(width: width, height: height) }
        guard !hasAlpha else { throw .transparentImage }
        if case .other(let name) = colorModel { throw .unsupportedColorSpace(name: name) }
    }
}
