// Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
#include <cosaga/testing/runner.hpp>
#include <cosaga/testing/workloads/ledger.hpp>

int main(int argc, char** argv)
{
    using namespace cosaga::testing;
    runner r;
    r.add<ledger<>>("ledger");
    return r.main(argc, argv);
}
