// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cosaga {

/// The key that the sender of a webhook and its receiver share, in the form of the Standard Webhooks specification: `whsec_` and 24 to 64
/// bytes in base64.
///
/// It cannot be printed or compared, and its bytes are overwritten when it is destroyed.
/// @code
/// webhook_secret const secret{std::getenv("WEBHOOK_SECRET")};
/// auto const signature = sign_webhook(secret, id.to_string(), timestamp, body);
/// @endcode
class webhook_secret {
public:
    static constexpr std::size_t least_bytes = 24;
    static constexpr std::size_t most_bytes = 64;

    /// @throws system_error `errc::bad_argument`, without the text.
    explicit webhook_secret(std::string_view text);
    webhook_secret(webhook_secret const&) noexcept = default;
    webhook_secret& operator=(webhook_secret const&) noexcept = default;
    ~webhook_secret();

    /// 32 bytes of OpenSSL's random generator.
    /// @throws system_error `errc::transport_failed` when it has none.
    static webhook_secret make();

    /// The text, to hand it to the other side: once, and never to a log.
    std::string reveal() const;

private:
    friend struct webhook_hmac;
    webhook_secret() noexcept = default;

    std::array<unsigned char, most_bytes> bytes_{};
    std::size_t size_ = 0;
};

/// What is signed beside the body.
struct webhook_stamp {
    std::string_view id; ///< visible ASCII without a dot
    std::int64_t timestamp = 0; ///< seconds since 1970
};

/// The value of the header `webhook-signature`: `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64.
/// @throws system_error `errc::bad_argument` for an id that is empty, longer than 255 bytes, or has a dot or anything but visible ASCII.
std::string sign_webhook(webhook_secret const& secret, webhook_stamp stamp, std::string_view body);

/// A signature for each of the secrets, with spaces between them: while a secret is replaced, both are signed with.
/// @throws system_error `errc::bad_argument` also for no secret, or more than `max_webhook_secrets`.
std::string sign_webhook(std::span<webhook_secret const> secrets, webhook_stamp stamp, std::string_view body);

inline constexpr std::size_t max_webhook_secrets = 8;    ///< of one destination or source
inline constexpr std::size_t max_webhook_signatures = 16; ///< in one header
inline constexpr std::size_t max_webhook_id = 255;       ///< bytes

/// The three headers of a signed request, as they came; empty when absent.
struct webhook_headers {
    std::string_view id;        ///< `webhook-id`
    std::string_view timestamp; ///< `webhook-timestamp`
    std::string_view signature; ///< `webhook-signature`
};

/// What the verification of a signed request has found.
enum class webhook_verdict : std::uint8_t {
    authentic,
    missing_id,
    missing_timestamp,
    missing_signature,
    malformed_id,        ///< too long, or not visible ASCII without a dot
    malformed_timestamp, ///< not a number of seconds
    malformed_signature, ///< longer than any allowed, or more than `max_webhook_signatures`
    too_old,             ///< sent longer ago than tolerated: a replay, or a clock that is wrong
    too_new,             ///< from a future further away than tolerated: a clock that is wrong
    unknown_version,     ///< signatures, but none of version `v1`
    wrong_signature,     ///< made with another secret, or for other bytes
};

/// True when the request is not of the form that the specification gives it, whoever sent it.
constexpr bool is_malformed(webhook_verdict v) noexcept
{
    return v >= webhook_verdict::missing_id && v <= webhook_verdict::malformed_signature;
}

/// One sentence for people, which says nothing of secrets or of the signature that was expected.
char const* describe(webhook_verdict v) noexcept;

/// Verifies that one of the signatures was made with one of the secrets for these very bytes, not longer ago than `tolerance`.
///
/// The time that it takes does not depend on how much of a signature is right.
/// @param body as it came, before anything is decoded.
/// @param now of `environment::now`.
webhook_verdict verify_webhook(std::span<webhook_secret const> secrets, webhook_headers const& headers, std::string_view body,
    time_point now, duration tolerance = std::chrono::minutes{5});

} // namespace cosaga

#ifndef COSAGA_SEPARATE_COMPILATION
#include <cosaga/impl/webhook_signature.ipp>
#endif
