// Judges with Nimbus JOSE+JWT: reads one request per line (JSON) and answers each with one line. See panel/line_judge.py.
//
//     java -cp 'DIRECTORY/*' Judge.java    where DIRECTORY has the jars of pom.xml
import com.nimbusds.jose.*;
import com.nimbusds.jose.crypto.*;
import com.nimbusds.jose.crypto.bc.BouncyCastleProviderSingleton;
import com.nimbusds.jose.jwk.*;
import com.nimbusds.jose.jwk.gen.*;
import com.nimbusds.jose.jwk.source.*;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.Base64;
import com.nimbusds.jose.util.Base64URL;
import com.nimbusds.jose.util.DefaultResourceRetriever;
import com.nimbusds.jose.util.JSONObjectUtils;
import java.io.*;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.*;

public class Judge {
    // JDK 17 has no secp256k1.
    static final Provider BOUNCY_CASTLE = BouncyCastleProviderSingleton.getInstance();

    static final Map<String, JWKSource<SecurityContext>> clients = new HashMap<>();
    static final Map<String, JWK> parsed = new HashMap<>();

    /** The library's own client of a JWK Set's URL. */
    static JWKSource<SecurityContext> client(String url) throws Exception {
        if (!clients.containsKey(url))
            clients.put(url, JWKSourceBuilder.create(new URL(url), new DefaultResourceRetriever(10000, 10000, 4 << 20))
                    .cache(600000, 30000).rateLimited(false).build());
        return clients.get(url);
    }

    static JWK one(List<JWK> found, String kid) {
        if (found.size() != 1)
            throw new IllegalStateException("the served set has " + found.size() + " suitable keys with the kid " + kid);
        return found.get(0);
    }

    static JWK key(Map<String, Object> request) throws Exception {
        String text = JSONObjectUtils.toJSONString(JSONObjectUtils.getJSONObject(request, "jwk"));
        if (!parsed.containsKey(text))
            parsed.put(text, JWK.parse(text));
        return parsed.get(text);
    }

    static JWK make(String kind) throws Exception {
        switch (kind) {
        case "RSA-2048": case "RSA-3072": case "RSA-4096":
            return new RSAKeyGenerator(Integer.parseInt(kind.substring(4))).generate();
        case "secp256k1":
            return new ECKeyGenerator(Curve.SECP256K1).provider(BOUNCY_CASTLE).generate();
        case "P-256": case "P-384": case "P-521":
            return new ECKeyGenerator(Curve.parse(kind)).generate();
        default:
            return new OctetKeyPairGenerator(Curve.parse(kind)).generate();
        }
    }

    static JWSSigner signer(JWK key) throws Exception {
        if (key instanceof RSAKey)
            return new RSASSASigner((RSAKey) key);
        if (key instanceof OctetKeyPair)
            return new Ed25519Signer((OctetKeyPair) key);
        if (key instanceof OctetSequenceKey)
            return new MACSigner((OctetSequenceKey) key);
        ECKey ec = (ECKey) key;
        boolean strange = ec.getCurve().equals(Curve.SECP256K1);
        ECDSASigner signer = new ECDSASigner(strange ? ec.toECPrivateKey(BOUNCY_CASTLE) : ec.toECPrivateKey(), ec.getCurve());
        if (strange)
            signer.getJCAContext().setProvider(BOUNCY_CASTLE);
        return signer;
    }

    static JWSVerifier verifier(JWK key) throws Exception {
        if (key instanceof RSAKey)
            return new RSASSAVerifier((RSAKey) key);
        if (key instanceof OctetKeyPair)
            return new Ed25519Verifier((OctetKeyPair) key);
        if (key instanceof OctetSequenceKey)
            return new MACVerifier((OctetSequenceKey) key);
        ECKey ec = (ECKey) key;
        boolean strange = ec.getCurve().equals(Curve.SECP256K1);
        ECDSAVerifier verifier = new ECDSAVerifier(strange ? ec.toECPublicKey(BOUNCY_CASTLE) : ec.toECPublicKey());
        if (strange)
            verifier.getJCAContext().setProvider(BOUNCY_CASTLE);
        return verifier;
    }

    static JWEEncrypter encrypter(JWEAlgorithm alg, JWK key, JWK sender) throws Exception {
        if (key instanceof RSAKey)
            return new RSAEncrypter((RSAKey) key);
        if (key instanceof OctetSequenceKey) {
            byte[] octets = ((OctetSequenceKey) key).toByteArray();
            return alg.equals(JWEAlgorithm.DIR) ? new DirectEncrypter(octets)
                    : alg.getName().startsWith("PBES2") ? new PasswordBasedEncrypter(octets, 8, 1000) : new AESEncrypter(octets);
        }
        if (key instanceof OctetKeyPair)
            return sender == null ? new X25519Encrypter((OctetKeyPair) key)
                    : new ECDH1PUX25519Encrypter((OctetKeyPair) sender, (OctetKeyPair) key);
        ECKey ec = (ECKey) key;
        return sender == null ? new ECDHEncrypter(ec) : new ECDH1PUEncrypter(((ECKey) sender).toECPrivateKey(), ec.toECPublicKey());
    }

    static JWEDecrypter decrypter(JWEAlgorithm alg, JWK key, JWK sender) throws Exception {
        if (key instanceof RSAKey)
            return new RSADecrypter((RSAKey) key);
        if (key instanceof OctetSequenceKey) {
            byte[] octets = ((OctetSequenceKey) key).toByteArray();
            return alg.equals(JWEAlgorithm.DIR) ? new DirectDecrypter(octets)
                    : alg.getName().startsWith("PBES2") ? new PasswordBasedDecrypter(octets) : new AESDecrypter(octets);
        }
        if (key instanceof OctetKeyPair)
            return sender == null ? new X25519Decrypter((OctetKeyPair) key)
                    : new ECDH1PUX25519Decrypter((OctetKeyPair) key, ((OctetKeyPair) sender).toPublicJWK());
        ECKey ec = (ECKey) key;
        return sender == null ? new ECDHDecrypter(ec) : new ECDH1PUDecrypter(ec.toECPrivateKey(), ((ECKey) sender).toECPublicKey());
    }

    static JWK sender(Map<String, Object> request) throws Exception {
        Map<String, Object> sender = JSONObjectUtils.getJSONObject(request, "sender");
        return sender == null ? null : JWK.parse(sender);
    }

    /** A PKCS#12 file as the JDK writes it. */
    static String keystore(Map<String, Object> request) throws Exception {
        String algorithm = JSONObjectUtils.getString(request, "algorithm");
        boolean strange = algorithm.equals("secp256k1");
        KeyFactory factory = strange ? KeyFactory.getInstance("EC", BOUNCY_CASTLE) : KeyFactory.getInstance(algorithm);
        PrivateKey key = factory.generatePrivate(new PKCS8EncodedKeySpec(new Base64(JSONObjectUtils.getString(request, "key")).decode()));
        CertificateFactory certificates = CertificateFactory.getInstance("X.509");
        List<Certificate> chain = new ArrayList<>();
        for (String each : JSONObjectUtils.getStringList(request, "chain"))
            chain.add(certificates.generateCertificate(new ByteArrayInputStream(new Base64(each).decode())));
        char[] password = JSONObjectUtils.getString(request, "password").toCharArray();
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry(JSONObjectUtils.getString(request, "alias"), key, password, chain.toArray(new Certificate[0]));
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        store.store(out, password);
        return Base64.encode(out.toByteArray()).toString();
    }

    static Map<String, Object> answer(Map<String, Object> request) throws Exception {
        String url = JSONObjectUtils.getString(request, "url"), alg = JSONObjectUtils.getString(request, "alg");
        switch (JSONObjectUtils.getString(request, "op")) {
        case "make":
            return Map.of("jwk", make(JSONObjectUtils.getString(request, "kind")).toJSONObject());
        case "keystore":
            return Map.of("file", keystore(request));
        case "thumbprints": {
            Map<String, Object> result = new HashMap<>();
            for (JWK each : client(url).get(new JWKSelector(new JWKMatcher.Builder().build()), null))
                result.put(each.getKeyID(), each.computeThumbprint().toString());
            return Map.of("thumbprints", result);
        }
        case "sign": {
            JWK key = key(request);
            JWSHeader header = new JWSHeader.Builder(JWSAlgorithm.parse(alg)).keyID(key.getKeyID()).build();
            JWSObject object = new JWSObject(header, new Payload(JSONObjectUtils.getString(request, "payload")));
            object.sign(signer(key));
            return Map.of("token", object.serialize());
        }
        case "verify": {
            JWSObject object = JWSObject.parse(JSONObjectUtils.getString(request, "token"));
            if (!object.getHeader().getAlgorithm().getName().equals(alg))
                throw new JOSEException("the token is of the algorithm " + object.getHeader().getAlgorithm());
            JWK key = url == null ? key(request)
                    : one(client(url).get(new JWKSelector(JWKMatcher.forJWSHeader(object.getHeader())), null), object.getHeader().getKeyID());
            if (!object.verify(verifier(key)))
                throw new JOSEException("the signature is not valid");
            return Map.of("payload", object.getPayload().toString());
        }
        case "encrypt": {
            JWEAlgorithm algorithm = JWEAlgorithm.parse(alg);
            String kid = JSONObjectUtils.getString(request, "kid");
            JWEHeader header = new JWEHeader.Builder(algorithm, EncryptionMethod.parse(JSONObjectUtils.getString(request, "enc"))).keyID(kid).build();
            // JWKMatcher.forJWEHeader() takes ECDH for an algorithm of the type EC alone, and would never find an X25519 key.
            JWKMatcher matcher = new JWKMatcher.Builder().keyID(kid).keyUses(KeyUse.ENCRYPTION, null).algorithms(algorithm, null).build();
            JWK key = url == null ? key(request) : one(client(url).get(new JWKSelector(matcher), null), kid);
            JWEObject object = new JWEObject(header, new Payload(JSONObjectUtils.getString(request, "payload")));
            object.encrypt(encrypter(algorithm, key, sender(request)));
            return Map.of("token", object.serialize());
        }
        case "decrypt": {
            JWEObject object = JWEObject.parse(JSONObjectUtils.getString(request, "token"));
            object.decrypt(decrypter(object.getHeader().getAlgorithm(), key(request), sender(request)));
            return Map.of("payload", object.getPayload().toString());
        }
        case "seal": {
            List<JWK> recipients = new ArrayList<>();
            for (Map<String, Object> each : JSONObjectUtils.getJSONObjectArray(request, "recipients")) {
                Map<String, Object> named = new HashMap<>(each);
                named.put("alg", alg); // it reads the algorithm of each recipient from the key
                recipients.add(JWK.parse(named));
            }
            JWEHeader header = new JWEHeader.Builder(EncryptionMethod.parse(JSONObjectUtils.getString(request, "enc"))).build();
            // It writes the octets as they are, and so wants those of the encoded text.
            JWEObjectJSON object = new JWEObjectJSON(header, new Payload(JSONObjectUtils.getString(request, "payload")), null,
                    Base64URL.encode(JSONObjectUtils.getString(request, "aad")).toString().getBytes(StandardCharsets.UTF_8));
            object.encrypt(new MultiEncrypter(new JWKSet(recipients)));
            return Map.of("jwe", object.serializeGeneral());
        }
        case "open": {
            JWEObjectJSON object = JWEObjectJSON.parse(JSONObjectUtils.getString(request, "jwe"));
            // It gives the header before it, as both are authenticated.
            String aad = new String(object.getAAD(), StandardCharsets.UTF_8);
            if (!aad.endsWith("." + Base64URL.encode(JSONObjectUtils.getString(request, "aad"))))
                throw new JOSEException("it is bound to another aad");
            object.decrypt(new MultiDecrypter(key(request)));
            return Map.of("payload", object.getPayload().toString());
        }
        case "attach": {
            Payload payload = new Payload(new Base64URL(JSONObjectUtils.getString(request, "payload")));
            JWSObject object = JWSObject.parse(JSONObjectUtils.getString(request, "token"), payload);
            if (!object.getHeader().getAlgorithm().getName().equals(alg) || !object.verify(verifier(key(request))))
                throw new JOSEException("the signature is not valid");
            return Map.of("payload", object.getPayload().toBase64URL().toString());
        }
        case "detach": {
            JWK key = key(request);
            JWSHeader header = new JWSHeader.Builder(JWSAlgorithm.parse(alg)).keyID(key.getKeyID()).build();
            JWSObject object = new JWSObject(header, new Payload(new Base64URL(JSONObjectUtils.getString(request, "payload"))));
            object.sign(signer(key));
            return Map.of("token", object.serialize(true));
        }
        case "import":
            try {
                // What is derived from the members is judged with them: a JWK is parsed as strings, and becomes a key only then.
                JWK key = JWK.parse(JSONObjectUtils.getString(request, "text"));
                if (key instanceof AsymmetricJWK && !(key instanceof OctetKeyPair)
                        && !(key instanceof ECKey && ((ECKey) key).getCurve().equals(Curve.SECP256K1)))
                    ((AsymmetricJWK) key).toPublicKey();
                return Map.of("accepted", true);
            } catch (Exception refusal) {
                return Map.of("accepted", false, "reason", String.valueOf(refusal));
            }
        default:
            throw new IllegalArgumentException("no such operation");
        }
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, "UTF-8");
        for (String line; (line = in.readLine()) != null;) {
            Map<String, Object> answer;
            try {
                answer = answer(JSONObjectUtils.parse(line));
            } catch (Exception | LinkageError failure) {
                answer = Map.of("error", String.valueOf(failure));
            }
            out.print(JSONObjectUtils.toJSONString(answer) + "\n");
            out.flush();
        }
    }
}
