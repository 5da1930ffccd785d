package dev.layeron.job;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.SerializableString;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.core.util.JsonGeneratorDelegate;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.google.protobuf.ByteString;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.jspecify.annotations.Nullable;

/** Payloads and results as JSON text. Their size, depth and integers are the server's to judge. */
final class Json {
    private static final JsonFactory FACTORY = JsonFactory.builder()
            .enable(JsonWriteFeature.COMBINE_UNICODE_SURROGATES_IN_UTF8)
            // The size of what the server keeps is limited, so that of a number is too.
            .streamReadConstraints(StreamReadConstraints.builder()
                    .maxNumberLength(Integer.MAX_VALUE)
                    .build())
            .build();

    private static final ObjectMapper READER = new JsonMapper(FACTORY);

    private final ObjectMapper mapper;

    Json(ObjectMapper mapper) {
        this.mapper = mapper;
    }

    /** A payload as UTF-8 JSON. IllegalArgumentException if it is not JSON; that shows none of it. */
    ByteString bytes(@Nullable Object payload) {
        ByteString.Output out = ByteString.newOutput();
        try (JsonGenerator generator = new Strict(FACTORY.createGenerator(out))) {
            mapper.writeValue(generator, payload);
        } catch (JsonProcessingException problem) {
            throw Limits.refused("payload", "is not JSON: " + problem.getOriginalMessage());
        } catch (IOException problem) {
            throw Limits.refused("payload", "is not JSON: " + problem.getMessage());
        }
        return out.toByteString();
    }

    /** JSON as the server gives it; null if it was not sent. */
    static @Nullable JsonNode read(ByteString text) {
        if (text.isEmpty()) {
            return null;
        }
        try {
            return READER.readTree(text.newInput());
        } catch (IOException problem) {
            throw new UncheckedIOException("the server sent what is not JSON", problem);
        }
    }

    /** Refuses what Jackson would write in another way: NaN and infinities as texts, lone surrogates as escapes. */
    private static final class Strict extends JsonGeneratorDelegate {
        Strict(JsonGenerator generator) {
            super(generator, false);
        }

        @Override
        public void writeNumber(double value) throws IOException {
            check(Double.isFinite(value));
            super.writeNumber(value);
        }

        @Override
        public void writeNumber(float value) throws IOException {
            check(Float.isFinite(value));
            super.writeNumber(value);
        }

        @Override
        public void writeArray(double[] values, int offset, int length) throws IOException {
            writeStartArray(values, length);
            for (int at = offset; at < offset + length; at++) {
                writeNumber(values[at]);
            }
            writeEndArray();
        }

        @Override
        public void writeString(String text) throws IOException {
            super.writeString(checked(text));
        }

        @Override
        public void writeString(char[] text, int offset, int length) throws IOException {
            super.writeString(checked(new String(text, offset, length)));
        }

        @Override
        public void writeFieldName(String name) throws IOException {
            super.writeFieldName(checked(name));
        }

        @Override
        public void writeFieldName(SerializableString name) throws IOException {
            checked(name.getValue());
            super.writeFieldName(name);
        }

        private static void check(boolean finite) throws IOException {
            if (!finite) {
                throw new IOException("numbers must be finite");
            }
        }

        private static String checked(String text) throws IOException {
            if (Limits.hasLoneSurrogate(text)) {
                throw new IOException("it has a lone surrogate, which UTF-8 cannot hold");
            }
            return text;
        }
    }
}
