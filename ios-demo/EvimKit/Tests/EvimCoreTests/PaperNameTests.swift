import Testing

@testable import EvimCore

@Suite struct PaperNameTests {
    @Test(arguments: [
        ("efficientvim_m1", "EfficientViM-M1", "EfficientViM-M1", 224),
        ("efficientvim_m2_dist", "EfficientViM-M2-dist", "EfficientViM-M2", 224),
        ("efficientvim_m4", "EfficientViM-M4", "EfficientViM-M4", 256),
        ("efficientvim_m4_dist", "EfficientViM-M4-dist", "EfficientViM-M4", 256),
    ])
    func namesThePapersModels(model: String, name: String, paper: String, side: Int) {
        #expect(PaperName.name(ofModel: model) == (name, paper))
        #expect(PaperName.nativeSide(ofModel: model) == side)
    }

    @Test(arguments: [
        "", "m4", "efficientvim_", "efficientvim_m5", "efficientvim_dist", "efficientvim_m4_dist_dist",
        "efficientvim_tiny", "EfficientViM_M4",
    ])
    func leavesOthersAsTheyAre(model: String) {
        #expect(PaperName.name(ofModel: model) == (model, nil))
        #expect(PaperName.nativeSide(ofModel: model) == nil)
    }
}
