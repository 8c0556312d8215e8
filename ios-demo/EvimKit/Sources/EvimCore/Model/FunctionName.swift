/// The functions of a package that has several.
public enum FunctionName {
    /// The name, if the package has a function of it.
    ///
    /// - Parameters:
    ///   - name: Which function is asked for.
    ///   - available: Those that the package has.
    /// - Returns: The same name.
    /// - Throws: ``EvimError/missingFunction(name:available:)``.
    public static func require(_ name: String, among available: [String]) throws(EvimError) -> String {
        guard available.contains(name) else { throw .missingFunction(name: name, available: available) }
        return name
    }
}
