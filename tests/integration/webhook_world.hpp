// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#pragma once

#include <cosaga/environment.hpp>
#include <cosaga/message.hpp>
#include <cosaga/webhook/signature.hpp>
#include <cosaga/webhook/sink.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace cosaga_tests {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using asio::ip::tcp;

/// Runs coroutines in real time.
class webhook_world {
public:
    explicit webhook_world(int threads = 1)
    {
        env.set_reporter([this](std::string const& what) {
            std::lock_guard const lock{mutex_};
            reports_.push_back(what);
        });
        for (int n = 0; n < threads; ++n)
            threads_.emplace_back([this] { io.run(); });
    }
    ~webhook_world()
    {
        work_.reset();
        io.stop();
        for (auto& t : threads_)
            t.join();
    }

    template <class T>
    T run(asio::awaitable<T> work)
    {
        return asio::co_spawn(io, std::move(work), asio::use_future).get();
    }

    std::vector<std::string> reports()
    {
        std::lock_guard const lock{mutex_};
        return reports_;
    }

    asio::io_context io;
    cosaga::system_environment env{io.get_executor()};
    cosaga::message_id_generator ids{env};

    cosaga::message make_message()
    {
        cosaga::message m;
        m.id = ids();
        m.time = env.now();
        m.type = "order";
        m.source = "bank";
        m.content_type = "application/json";
        m.payload = R"({"id":"a","cents":5})";
        return m;
    }

private:
    asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io);
    std::mutex mutex_;
    std::vector<std::string> reports_;
    std::vector<std::thread> threads_;
};

/// A server of a script: each connection is handed to it, on a thread of its own.
class scripted_server {
public:
    using script = std::function<void(tcp::socket& s)>;

    explicit scripted_server(script f) : script_{std::move(f)}, thread_{[this] { accept(); }} {}
    ~scripted_server()
    {
        stopping = true;
        boost::system::error_code ec;
        acceptor_.cancel(ec);
        tcp::socket wake{io_};
        wake.connect(acceptor_.local_endpoint(), ec);
        thread_.join();
        for (auto& c : connections_) {
            ::shutdown(c.socket.native_handle(), SHUT_RDWR);
            c.thread.join();
        }
    }

    std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
    std::string url(std::string const& path = "/") const { return "http://127.0.0.1:" + std::to_string(port()) + path; }
    std::size_t accepted() const { return accepted_; }

    /// Reads a request to its end; what was read.
    static std::string read_request(tcp::socket& s)
    {
        std::string text;
        std::size_t whole = std::string::npos;
        while (text.size() < whole) {
            char buffer[4096];
            boost::system::error_code ec;
            auto const n = s.read_some(asio::buffer(buffer), ec);
            if (ec)
                break;
            text.append(buffer, n);
            auto const end = text.find("\r\n\r\n");
            if (whole != std::string::npos || end == std::string::npos)
                continue;
            auto const length = text.find("Content-Length: ");
            whole = end + 4 + (length < end ? std::stoul(text.substr(length + 16)) : 0);
        }
        return text;
    }

    static bool write(tcp::socket& s, std::string_view text)
    {
        boost::system::error_code ec;
        asio::write(s, asio::buffer(text), ec);
        return !ec;
    }

    /// Reads the request and gives this answer.
    static script answering(std::string text)
    {
        return [text = std::move(text)](tcp::socket& s) {
            read_request(s);
            write(s, text);
        };
    }

    std::atomic<bool> stopping = false;

private:
    struct connection {
        explicit connection(asio::io_context& io) : socket{io} {}
        tcp::socket socket;
        std::thread thread;
    };

    void accept()
    {
        for (;;) {
            auto& c = connections_.emplace_back(io_);
            boost::system::error_code ec;
            acceptor_.accept(c.socket, ec);
            if (stopping) {
                connections_.pop_back();
                return;
            }
            ++accepted_;
            c.thread = std::thread{[this, &c] {
                script_(c.socket);
                ::shutdown(c.socket.native_handle(), SHUT_RDWR);
            }};
        }
    }

    script script_;
    asio::io_context io_;
    tcp::acceptor acceptor_{io_, tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
    std::atomic<std::size_t> accepted_ = 0;
    std::list<connection> connections_;
    std::thread thread_;
};

/// A folder that is removed in the end.
class temporary_folder {
public:
    temporary_folder() : path_{std::filesystem::temp_directory_path() / ("cosaga_webhook_" + std::to_string(::getpid()) + '_' + std::to_string(next_++))}
    {
        std::filesystem::create_directories(path_);
    }
    ~temporary_folder() { std::filesystem::remove_all(path_); }
    std::string file(std::string const& name) const { return (path_ / name).string(); }

private:
    static inline std::atomic<int> next_ = 0;
    std::filesystem::path path_;
};

/// A certificate with its key, signed by another or by itself.
class test_certificate {
public:
    struct form {
        std::string names = "DNS:localhost"; ///< subjectAltName
        long from_seconds = -3600;
        long until_seconds = 3600;
        test_certificate const* issuer = nullptr; ///< null: itself
        bool authority = false;
    };

    explicit test_certificate(form const& f) : key_{EVP_EC_gen("P-256"), EVP_PKEY_free}, x509_{X509_new(), X509_free}
    {
        auto* const x = x509_.get();
        X509_set_version(x, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial_);
        X509_gmtime_adj(X509_getm_notBefore(x), f.from_seconds);
        X509_gmtime_adj(X509_getm_notAfter(x), f.until_seconds);
        X509_set_pubkey(x, key_.get());
        auto const common = "cosaga test " + std::to_string(serial_);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
            reinterpret_cast<unsigned char const*>(common.c_str()), -1, -1, 0);
        auto const& issuer = f.issuer ? *f.issuer : *this;
        X509_set_issuer_name(x, X509_get_subject_name(issuer.x509_.get()));
        extend(NID_basic_constraints, f.authority ? "critical,CA:TRUE" : "CA:FALSE");
        extend(NID_subject_alt_name, f.names.c_str());
        X509_sign(x, issuer.key_.get(), EVP_sha256());
    }

    void write(std::string const& certificate, std::string const& key) const
    {
        write(certificate, [&](std::FILE* to) { PEM_write_X509(to, x509_.get()); });
        write(key, [&](std::FILE* to) { PEM_write_PrivateKey(to, key_.get(), nullptr, nullptr, 0, nullptr, nullptr); });
    }

private:
    void extend(int nid, char const* value)
    {
        std::unique_ptr<X509_EXTENSION, void (*)(X509_EXTENSION*)> const e{
            X509V3_EXT_conf_nid(nullptr, nullptr, nid, value), X509_EXTENSION_free};
        X509_add_ext(x509_.get(), e.get(), -1);
    }

    template <class F>
    static void write(std::string const& path, F f)
    {
        std::unique_ptr<std::FILE, int (*)(std::FILE*)> const file{std::fopen(path.c_str(), "w"), std::fclose};
        f(file.get());
    }

    static inline std::atomic<long> serial_ = 0;
    std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key_;
    std::unique_ptr<X509, void (*)(X509*)> x509_;
};

} // namespace cosaga_tests
