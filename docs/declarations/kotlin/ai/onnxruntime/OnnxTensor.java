package ai.onnxruntime;

import java.nio.FloatBuffer;

public class OnnxTensor implements OnnxValue {
    private OnnxTensor() {}
    public static native OnnxTensor createTensor(OrtEnvironment env, FloatBuffer data, long[] shape) throws OrtException;
    public native Object getValue() throws OrtException;
    public native FloatBuffer getFloatBuffer();
    public native void close();
}
