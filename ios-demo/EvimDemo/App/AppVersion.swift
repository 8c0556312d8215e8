import Foundation

/// The app's name, version and build, as results files and the About screen have them.
enum AppVersion {
    /// Such as `EvimDemo 0.1.0`; a build for debugging says so, because its times are not those of a release.
    static var text: String {
        let version = Bundle.main.object(forInfoDictionaryKey: "CFBundleShortVersionString") as? String
        let words = ["EvimDemo", version, isDebug ? "(debug build)" : nil]
        return words.compactMap(\.self).joined(separator: " ")
    }

    private static var isDebug: Bool {
        #if DEBUG
            true
        #else
            false
        #endif
    }
}
