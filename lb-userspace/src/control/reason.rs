//! The reasons of Problems that the control room reports: stable words, for Events, metrics and scripts.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// All of them.
        pub const ALL: &[&str] = &[$($text),*];
    };
}

reasons! {
    /// A file that is not UTF-8 text.
    NOT_TEXT = "NotText";
    /// Text that is neither YAML nor JSON.
    SYNTAX = "Syntax";
    /// A field has a value of the wrong type.
    INVALID_FIELD = "InvalidField";
    /// A field that the kind does not have.
    UNKNOWN_FIELD = "UnknownField";
    /// No `kind`, `apiVersion` or `metadata.name`.
    INCOMPLETE = "Incomplete";
    /// A name or namespace that Kubernetes would refuse.
    INVALID_NAME = "InvalidName";
    /// A kind that is read, in an API version that is not.
    UNSUPPORTED_VERSION = "UnsupportedVersion";
    /// A kind that is not read.
    KIND_NOT_READ = "KindNotRead";
    /// A file larger than the limit.
    FILE_TOO_LARGE = "FileTooLarge";
    /// More files than the limit.
    TOO_MANY_FILES = "TooManyFiles";
    /// More objects than the limit.
    TOO_MANY_OBJECTS = "TooManyObjects";
    /// A directory deeper than the limit.
    TOO_DEEP = "TooDeep";
    /// A file or directory that cannot be read.
    UNREADABLE = "Unreadable";
    /// A directory that inotify does not take.
    NOT_WATCHED = "NotWatched";
    /// Two documents define one object.
    DUPLICATE_OBJECT = "DuplicateObject";
    /// An Ingress of another controller.
    OTHER_CLASS = "OtherClass";
    /// An Ingress without a class, where such Ingresses are not served.
    NO_CLASS = "NoClass";
    /// An Ingress names an IngressClass that does not exist.
    UNKNOWN_CLASS = "UnknownClass";
    /// Several IngressClasses are marked default.
    SEVERAL_DEFAULT_CLASSES = "SeveralDefaultClasses";
    /// A host that is no DNS name.
    INVALID_HOST = "InvalidHost";
    /// A path that cannot be matched.
    INVALID_PATH = "InvalidPath";
    /// More path expressions in one Ingress than the limit.
    TOO_MANY_EXPRESSIONS = "TooManyExpressions";
    /// A path type that does not exist.
    INVALID_PATH_TYPE = "InvalidPathType";
    /// Another object holds the same host and path.
    PATH_CONFLICT = "PathConflict";
    /// Another object holds the default backend.
    DEFAULT_BACKEND_CONFLICT = "DefaultBackendConflict";
    /// An Ingress with neither rules nor a default backend.
    NOTHING_TO_SERVE = "NothingToServe";
    /// A backend that names no service, or no single port.
    INVALID_BACKEND = "InvalidBackend";
    /// A backend that names a resource.
    RESOURCE_BACKEND = "ResourceBackend";
    /// A Service that does not exist.
    SERVICE_MISSING = "ServiceMissing";
    /// A port that the Service does not have.
    SERVICE_PORT_MISSING = "ServicePortMissing";
    /// A Service that only names another host, where such are not served, or none that can be resolved.
    EXTERNAL_NAME = "ExternalName";
    /// The name of an `ExternalName` Service leads where it must not.
    NAME_REFUSED = "NameRefused";
    /// The name of an `ExternalName` Service cannot be resolved.
    NAME_UNRESOLVED = "NameUnresolved";
    /// More `ExternalName` Services than are resolved.
    TOO_MANY_NAMES = "TooManyNames";
    /// The name of an `ExternalName` Service has more addresses than are used.
    TOO_MANY_ADDRESSES = "TooManyAddresses";
    /// A Service without an endpoint that can take requests.
    NO_ENDPOINTS = "NoEndpoints";
    /// An endpoint address that cannot be used.
    INVALID_ENDPOINT = "InvalidEndpoint";
    /// A Secret that does not exist.
    SECRET_MISSING = "SecretMissing";
    /// A Secret without a usable certificate and key.
    INVALID_CERTIFICATE = "InvalidCertificate";
    /// A certificate and a key that do not belong together.
    KEY_MISMATCH = "KeyMismatch";
    /// A certificate whose time is over.
    CERTIFICATE_EXPIRED = "CertificateExpired";
    /// A certificate whose time has not come.
    CERTIFICATE_NOT_YET_VALID = "CertificateNotYetValid";
    /// A certificate without the name that it is used for.
    CERTIFICATE_NAME_MISMATCH = "CertificateNameMismatch";
    /// Another certificate is bound to the name.
    CERTIFICATE_CONFLICT = "CertificateConflict";
    /// An annotation whose value cannot be read.
    INVALID_ANNOTATION = "InvalidAnnotation";
    /// An annotation that is known and does nothing in this version.
    UNSUPPORTED_ANNOTATION = "UnsupportedAnnotation";
    /// An annotation that protects, and that this version cannot honour: the Ingress answers 503.
    PROTECTION_UNSUPPORTED = "ProtectionUnsupported";
    /// An annotation that ingress-nginx does not have (any more).
    OBSOLETE_ANNOTATION = "ObsoleteAnnotation";
    /// An annotation that nobody knows.
    UNKNOWN_ANNOTATION = "UnknownAnnotation";
    /// An annotation that does nothing beside the others.
    USELESS_ANNOTATION = "UselessAnnotation";
    /// A protocol that is known and not spoken: the Ingress answers 503.
    PROTOCOL_UNSUPPORTED = "ProtocolUnsupported";
    /// Verification is asked for, and no authority is named: the Ingress answers 503.
    AUTHORITY_MISSING = "AuthorityMissing";
    /// A Secret of another namespace: the Ingress answers 503.
    OTHER_NAMESPACE = "OtherNamespace";
    /// A host asks for other client certificates than an Ingress wants: its paths answer 503.
    CLIENT_AUTH_CONFLICT = "ClientAuthConflict";
    /// TLS cannot be passed through for a host: its paths answer 503.
    PASSTHROUGH_REFUSED = "PassthroughRefused";
    /// Another Ingress decides where TLS of the host ends.
    PASSTHROUGH_CONFLICT = "PassthroughConflict";
    /// TLS of the host passes through, and never reaches this path or certificate.
    PASSED_BY = "PassedBy";
    /// Whole connections cannot be steered: requests are routed one by one.
    STEERING_REFUSED = "SteeringRefused";
    /// A mode of a class that does not exist.
    INVALID_CLASS_MODE = "InvalidClassMode";
    /// An IngressClass whose parameters cannot be used.
    INVALID_CLASS_PARAMETERS = "InvalidClassParameters";
    /// The API server does not let us read what is needed.
    FORBIDDEN = "Forbidden";
    /// More Secrets are named than are watched one by one.
    TOO_MANY_SECRETS = "TooManySecrets";
    /// `rewrite-target` names a group that the path does not have.
    REWRITE_GROUP_MISSING = "RewriteGroupMissing";
    /// More Problems of one object than are listed.
    MORE_PROBLEMS = "MoreProblems";
}
