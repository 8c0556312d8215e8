import Testing

@testable import EvimCore

@Suite struct ImageTraitsTests {
    @Test(arguments: [ImageTraits.ColorModel.rgb, .monochrome])
    func takesColourAndGrey(model: ImageTraits.ColorModel) throws {
        try ImageTraits(width: 1, height: 1, hasAlpha: false, colorModel: model).check()
    }

    @Test(
        arguments: [
            (0, 5, false, .rgb, .emptyImage(width: 0, height: 5)),
            (5, 0, false, .rgb, .emptyImage(width: 5, height: 0)),
            (-1, 5, true, .other("CMYK"), .emptyImage(width: -1, height: 5)),
            (5, 5, true, .rgb, .transparentImage),
            (5, 5, true, .monochrome, .transparentImage),
            (5, 5, false, .other("CMYK"), .unsupportedColorSpace(name: "CMYK")),
            (5, 5, false, .other("Lab"), .unsupportedColorSpace(name: "Lab")),
        ] as [(Int, Int, Bool, ImageTraits.ColorModel, EvimError)])
    func refusesTheRest(
        width: Int, height: Int, hasAlpha: Bool, model: ImageTraits.ColorModel, expected: EvimError
    ) {
        let traits = ImageTraits(width: width, height: height, hasAlpha: hasAlpha, colorModel: model)
        #expect(throws: expected) { try traits.check() }
    }

    @Test(arguments: [
        EvimError.emptyImage(width: 0, height: 5), .transparentImage, .unsupportedColorSpace(name: "Lab"),
    ])
    func saysWhatIsWrongAndWhatToDo(error: EvimError) {
        #expect(error.errorDescription?.hasSuffix(".") == true)
        #expect(error.recoverySuggestion?.hasSuffix(".") == true)
    }
}
