import Testing

@testable import EvimCore

@Suite struct CenterCropTests {
    struct Case: Decodable, Sendable {
        let image: [Int]
        let to: [Int]
        let preprocessing: Preprocessing
        let fill: [UInt8]
        let resized: [Int]
        let left: Int
        let top: Int
    }

    @Test func takesThePixelsThatPythonTakes() throws {
        for each in try Fixtures.decode([Case].self, "geometry.json") {
            let crop = try CenterCrop(
                imageWidth: each.image[0], imageHeight: each.image[1], toWidth: each.to[0], toHeight: each.to[1],
                as: each.preprocessing)
            #expect(each.preprocessing.fill == each.fill, "\(each)")
            #expect([crop.resizedWidth, crop.resizedHeight] == each.resized, "\(each)")
            #expect([crop.left, crop.top] == [each.left, each.top], "\(each)")
            #expect([crop.width, crop.height] == each.to)
        }
    }

    @Test(arguments: [
        // 320 * 292 / 256 is 365: half of the 109 columns too many is 54.5.
        (320, 256, 256, [365, 292, 54, 18]),
        // Of 3 columns too many half is 1.5, of 1 row 0.5.
        (5, 4, 7, [10, 8, 2, 0]),
        // 5 * 1 / 2 is 2.5 columns, of which the half is cut off.
        (5, 2, 1, [2, 1, 0, 0]),
        (1, 1, 256, [292, 292, 18, 18]),
        // 640 * 256 / 427 is 383.7 columns.
        (640, 427, 224, [383, 256, 80, 16]),
        (427, 640, 224, [256, 383, 16, 80]),
    ])
    func halvesGoToTheEvenNeighbour(width: Int, height: Int, side: Int, expected: [Int]) throws {
        let crop = try CenterCrop(imageWidth: width, imageHeight: height, toWidth: side, toHeight: side)
        #expect([crop.resizedWidth, crop.resizedHeight, crop.left, crop.top] == expected)
    }

    @Test func aSideThatVanishesIsRefused() throws {
        let border = Preprocessing(mean: [0, 0.5, 1], cropFraction: 1, interpolation: "bicubic", cropMode: .border)
        #expect(border.fill == [0, 128, 255])
        #expect(throws: EvimError.imageTooNarrow(width: 1, height: 3000)) {
            try CenterCrop(imageWidth: 1, imageHeight: 3000, toWidth: 224, toHeight: 224, as: border)
        }
    }

    @Test(arguments: [(0, 0), (0, 5), (5, 0), (-1, 5), (Int.min, 5)])
    func refusesAnImageWithoutPixels(width: Int, height: Int) {
        #expect(throws: EvimError.emptyImage(width: width, height: height)) {
            try CenterCrop(imageWidth: width, imageHeight: height, toWidth: 256, toHeight: 256)
        }
        #expect(throws: EvimError.emptyImage(width: width, height: height)) {
            try CenterCrop(imageWidth: 256, imageHeight: 256, toWidth: width, toHeight: height)
        }
    }

    @Test(arguments: [(1, 3000), (3000, 1), (1, Int.max), (Int.max, 1)])
    func refusesAStripThatWouldFillTheMemory(width: Int, height: Int) {
        #expect(throws: EvimError.imageTooNarrow(width: width, height: height)) {
            try CenterCrop(imageWidth: width, imageHeight: height, toWidth: 256, toHeight: 256)
        }
    }

    @Test func aStripThatJustFitsIsTaken() throws {
        // 292 columns wide, so at most 684931 rows: 2345 * 292 = 684740.
        let crop = try CenterCrop(imageWidth: 1, imageHeight: 2345, toWidth: 256, toHeight: 256)
        #expect(crop.resizedHeight == 684_740)
        #expect(throws: EvimError.imageTooNarrow(width: 1, height: 2346)) {
            try CenterCrop(imageWidth: 1, imageHeight: 2346, toWidth: 256, toHeight: 256)
        }
    }

    @Test func aHugeSquareIsReducedLikeAnyOther() throws {
        let crop = try CenterCrop(imageWidth: Int.max, imageHeight: Int.max, toWidth: 256, toHeight: 256)
        #expect([crop.resizedWidth, crop.resizedHeight, crop.left, crop.top] == [292, 292, 18, 18])
    }

    @Test(arguments: [(Int.max, Int.max), (1, 200_000_001), (20_000, 20_000)])
    func refusesAModelOfAbsurdSize(toWidth: Int, toHeight: Int) {
        #expect(throws: EvimError.imageTooNarrow(width: 4, height: 3)) {
            try CenterCrop(imageWidth: 4, imageHeight: 3, toWidth: toWidth, toHeight: toHeight)
        }
    }
}
