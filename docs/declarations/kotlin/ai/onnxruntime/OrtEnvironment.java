package ai.onnxruntime;

public final class OrtEnvironment implements AutoCloseable {
    private OrtEnvironment() {}
    public static native OrtEnvironment getEnvironment();
    public native OrtSession createSession(byte[] modelArray, OrtSession.SessionOptions options) throws OrtException;
    public native void close();
}
